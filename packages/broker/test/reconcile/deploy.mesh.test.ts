/** What deploy/ says of the broker is what Kubernetes takes and `meshpass serve` knows. */
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { type OnLab, onLab } from '../harness/on-lab.ts';

const root = new URL('../../../../', import.meta.url);
const NOTHING = `
trust:
  codespaces: {organization: acme}
grants:
  nobody:
    who: [{user: ann}]
    to: [{service: orders.shop, port: 8080}]
`;

let on: OnLab;
let documents: { kind: string; metadata: { name: string; namespace: string }; spec: unknown }[];
beforeAll(async () => {
  on = await onLab(NOTHING);
  const text = await readFile(new URL('deploy/kubernetes/broker.yaml', root), 'utf8');
  documents = parseAllDocuments(text).map((document) => document.toJS());
});
afterAll(() => on?.end());

const COLLECTIONS: Readonly<Record<string, string>> = {
  Deployment: '/apis/apps/v1/namespaces/meshpass-system/deployments',
  Service: '/api/v1/namespaces/meshpass-system/services',
  PodDisruptionBudget: '/apis/policy/v1/namespaces/meshpass-system/poddisruptionbudgets',
};

it('Kubernetes takes every object, with no field that it does not know', async () => {
  expect(documents.map(({ kind }) => kind).sort()).toEqual(Object.keys(COLLECTIONS).sort());
  for (const document of documents) {
    const query = '?dryRun=All&fieldManager=test&fieldValidation=Strict';
    const path = `${COLLECTIONS[document.kind]}/${document.metadata.name}${query}`;
    const taken = await on.lab.kubernetes.call('PATCH', path, document, 'application/apply-patch+yaml');
    expect(taken).toMatchObject({ kind: document.kind, metadata: document.metadata });
  }
});

type Pod = { template: { spec: { containers: { args: string[] }[]; volumes: object[] } } };

async function unknownFlags({ spec }: { spec: unknown }, ...command: string[]): Promise<string[]> {
  const { args } = (spec as Pod).template.spec.containers[0]!;
  const main = fileURLToPath(new URL('packages/cli/src/main.ts', root));
  const { stdout } = await promisify(execFile)(process.execPath, [main, ...command, '--help']);
  const known = new Set(stdout.match(/--[a-z-]+/g));
  expect(args.slice(0, command.length)).toEqual(command);
  const flags = args.slice(command.length);
  expect(flags.length).toBeGreaterThan(5);
  return flags.map((flag) => flag.split('=')[0]!).filter((flag) => !known.has(flag));
}

it('`meshpass serve` has every flag', async () => {
  expect(await unknownFlags(documents.find(({ kind }) => kind === 'Deployment')!, 'serve')).toEqual([]);
});

it('the Job that declares a restore has what the broker has, and flags that exist', async () => {
  const text = await readFile(new URL('deploy/kubernetes/audit-accept-restore.yaml', root), 'utf8');
  const job = parseAllDocuments(text)[0]!.toJS();
  const path = '/apis/batch/v1/namespaces/meshpass-system/jobs?dryRun=All&fieldValidation=Strict';
  expect(await on.lab.kubernetes.call('POST', path, job)).toMatchObject({ kind: 'Job' });
  expect(await unknownFlags(job, 'audit', 'accept-restore')).toEqual([]);
  const flagsOf = ({ spec }: { spec: unknown }) => (spec as Pod).template.spec.containers[0]!.args;
  const serve = flagsOf(documents.find(({ kind }) => kind === 'Deployment')!);
  for (const name of ['--public-url', '--data', '--audit-key', '--audit-checkpoint-configmap']) {
    const given = (args: readonly string[]) => args.find((arg) => arg.startsWith(`${name}=`));
    expect(given(flagsOf(job)), name).toBe(given(serve));
  }
});
