/** Another account applies the output of `meshpass policy compile`; the broker has no right to, and reports missing objects. */
import { readFileSync, writeFileSync } from 'node:fs';
import type { KubeObject } from '@meshpass/lab/kubernetes';
import { type Meshpass, startMeshpass } from '@meshpass/lab/meshpass';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { asBroker } from '../hostile/kubernetes/as-broker.ts';
import { GUARD } from '../hostile/kubernetes/honest.ts';
import { apply, changed, merge, type Request, remove } from '../hostile/kubernetes/requests.ts';
import { type DataPath, openDataPath, until } from '../mesh.ts';

let dataPath: DataPath;
let meshpass: Meshpass;
let original: string;
const objects = (text: string) => parseAllDocuments(text).map((document) => document.toJS() as KubeObject);

beforeAll(async () => {
  // A first start applies everything by itself; from then on only the other one does.
  dataPath = await openDataPath();
  original = readFileSync(dataPath.meshpass.accessFile, 'utf8');
  meshpass = await startMeshpass(dataPath.lab, { breakGlassWithoutAnEmergency: true, flags: ['--gitops'] });
  const rights = new URL('../../deploy/helm/meshpass/files/broker-rbac-gitops.yaml', import.meta.url);
  await dataPath.lab.kubernetes.apply(...objects(readFileSync(rights, 'utf8')));
});
afterAll(() => dataPath?.close());

async function compiled(): Promise<readonly KubeObject[]> {
  const where = ['--public-url', meshpass.brokerUrl, '--kubeconfig', dataPath.lab.kubeconfig];
  const { stdout } = await dataPath.lab.exec('control', [
    'meshpass',
    'policy',
    'compile',
    '--access',
    meshpass.accessFile,
    ...where,
  ]);
  return objects(stdout);
}

async function drift(): Promise<string | undefined> {
  const text = await (await fetch(`${meshpass.operatorUrl}/metrics`)).text();
  return /^meshpass_policy_drift (\d+)$/m.exec(text)?.[1];
}

async function lastDecision() {
  const headers = { authorization: `Bearer ${meshpass.operatorToken}` };
  const { rows } = (await (await fetch(`${meshpass.operatorUrl}/audit?last=200`, { headers })).json()) as {
    rows: { action: string; outcome: string; code: string | null; reason: string }[];
  };
  return rows.findLast(({ action }) => action === 'policy.apply');
}

it('is in force if the cluster has the compiled objects', async () => {
  expect(await drift()).toBe('0');
  const names = (await compiled()).map(({ kind }) => kind);
  expect(names).not.toContain('RequestAuthentication');
  expect(Object.keys(await dataPath.objects())).toHaveLength(names.length + 1);
});

it('writes nothing of a new file, lists the objects to apply, and adopts the file once they exist', async () => {
  const before = await dataPath.objects();
  writeFileSync(meshpass.accessFile, original.replace('GET /whoami', 'GET /whoami, PUT /orders/*'));
  await until(drift, (seen) => seen === '1', 30);
  const refused = await until(lastDecision, (seen) => seen?.code === 'policy_drift', 30);
  expect(refused!.reason).toContain('change AuthorizationPolicy shop/meshpass-payments-dev.orders.8080');
  expect(await dataPath.objects()).toEqual(before);
  await dataPath.lab.kubernetes.apply(...(await compiled()));
  await until(lastDecision, (seen) => seen?.outcome === 'allowed', 40);
  expect(await drift()).toBe('0');
});

it('reports that the guard was removed', async () => {
  const [guard] = (await compiled()).filter(({ metadata }) => metadata.name === 'meshpass-guard-payments-dev');
  await dataPath.lab.kubernetes.remove(guard!);
  await until(drift, (seen) => seen === '1', 30);
  expect((await until(lastDecision, (seen) => seen?.code === 'policy_drift', 30))!.reason).toContain(
    'create AuthorizationPolicy istio-system/meshpass-guard-payments-dev',
  );
  await dataPath.lab.kubernetes.apply(guard!);
  await until(drift, (seen) => seen === '0', 40);
});

it('has no right to: of AuthorizationPolicies only its denials of ended sessions are its own', async () => {
  const { ask, forget } = await asBroker(dataPath.lab);
  const denial = changed(
    changed(GUARD, 'metadata name', 'meshpass-revoked-99'),
    'metadata labels app.kubernetes.io/component',
    'revocation',
  );
  const guard = (await compiled()).find(({ metadata }) => metadata.name === 'meshpass-guard-payments-dev')!;
  const asDenial = { metadata: { labels: { 'app.kubernetes.io/component': 'revocation' } } };
  const onlyDenials = /only its denials of ended sessions/;
  const attempts: readonly (readonly [what: string, attempt: Request, refusal: RegExp])[] = [
    ['the guard of others deleted', remove(guard), onlyDenials],
    ['the guard of others opened', merge(guard, { spec: { rules: guardOf('meshpass-other') } }), onlyDenials],
    ['the guard of others called a denial', merge(guard, asDenial), onlyDenials],
    ['a guard of its own', apply(GUARD), onlyDenials],
    ['a denial under the name of a guard', apply(changed(denial, 'metadata name', 'meshpass-guard-x')), onlyDenials],
    ['an ALLOW called a denial', apply(changed(denial, 'spec action', 'ALLOW')), /ValidatingAdmissionPolicy/],
    ['a policy of a service', apply(changed(denial, 'metadata namespace', 'shop')), /cannot patch resource/],
    ['a namespace', apply({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'meshpass-x' } }), /cannot patch/],
  ];
  for (const [what, attempt, refusal] of attempts)
    expect(await ask(attempt), what).toMatchObject({ accepted: false, answer: expect.stringMatching(refusal) });
  expect(await ask(apply(denial, { dryRun: false }))).toMatchObject({ accepted: true });
  expect(await ask(remove(denial, { dryRun: false }))).toMatchObject({ accepted: true });
  forget();
});

const guardOf = (namespace: string) => [{ from: [{ source: { namespaces: [namespace] } }] }];

it('does not apply a plan either, and keeps the previous file', async () => {
  const body = { main: 'access.yaml', files: { 'access.yaml': original.replace('GET /whoami', 'GET /who') } };
  const send = async (path: string, more: object) =>
    dataPath.adversary('github').ask('POST', `${meshpass.operatorUrl}${path}`, {
      headers: { authorization: `Bearer ${meshpass.operatorToken}`, 'content-type': 'application/json' },
      body: JSON.stringify({ ...body, ...more }),
    });
  const { id: plan } = (await send('/policy/plan', {})).json as { id: string };
  expect(await send('/policy/apply', { plan, reason: 'to see whether it is applied' })).toMatchObject({
    status: 503,
    json: { error_code: 'policy_drift' },
  });
  await until(drift, (seen) => seen === '0', 30);
});
