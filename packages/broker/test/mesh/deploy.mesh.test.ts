/** What deploy/ says of the broker is what Kubernetes takes and `meshpass serve` knows. */
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { type OnLab, onLab } from './on-lab.ts';

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

it('`meshpass serve` has every flag', async () => {
  type Pod = { template: { spec: { containers: { args: string[] }[] } } };
  const { args } = (documents.find(({ kind }) => kind === 'Deployment')!.spec as Pod).template.spec.containers[0]!;
  const main = fileURLToPath(new URL('packages/cli/src/main.ts', root));
  const { stdout } = await promisify(execFile)(process.execPath, [main, 'serve', '--help']);
  const known = new Set(stdout.match(/--[a-z-]+/g));
  const [command, ...flags] = args;
  expect(command).toBe('serve');
  expect(flags.length).toBeGreaterThan(5);
  expect(flags.map((flag) => flag.split('=')[0]!).filter((flag) => !known.has(flag))).toEqual([]);
});
