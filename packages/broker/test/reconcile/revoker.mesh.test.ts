import { RELAY_ACCOUNT } from '@meshpass/identity';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { kubeconfigAccess } from '../../src/mesh/kubernetes/access.ts';
import { createKubernetesHttp } from '../../src/mesh/kubernetes/http.ts';
import { createKubernetes } from '../../src/mesh/kubernetes/kubernetes.ts';
import type { ConnectedMesh } from '../../src/mesh/reconcile/connect-mesh.ts';
import { createRevoker, type RevokedPrincipal } from '../../src/mesh/reconcile/revocation/revoker.ts';
import { freshCsr, items, type OnLab, onLab, ours, ROOT_POLICIES, untilReady } from '../harness/on-lab.ts';

const namespace = 'meshpass-ending';
const ACCESS = `
trust:
  codespaces: {organization: acme}
grants:
  ending:
    who: [{user: ann}]
    to: [{service: orders.shop, port: 8080}]
`;

let on: OnLab;
let mesh: ConnectedMesh;

beforeAll(async () => {
  on = await onLab(ACCESS);
  mesh = await on.connect();
  await untilReady(mesh);
});
afterAll(() => on?.end());

/** Tokens are not tested here. */
const httpServers = () => undefined;
const seconds = () => Math.floor(Date.now() / 1000);
const revoked = (serviceAccount: string, until = seconds() + 300): RevokedPrincipal => ({
  namespace,
  serviceAccount,
  until,
  spiffeId: `spiffe://cluster.local/ns/${namespace}/sa/${serviceAccount}`,
});

async function denied(): Promise<Record<string, number>> {
  const found = (await items(on.lab, ROOT_POLICIES)).filter(({ metadata }) =>
    metadata.name.startsWith('meshpass-revoked'),
  );
  type Spec = { action: string; rules: { from: { source: { principals: string[] } }[] }[] };
  return Object.fromEntries(
    found.map((policy) => {
      const spec = policy.spec as Spec;
      expect(spec.action).toBe('DENY');
      return [policy.metadata.name, spec.rules[0]!.from[0]!.source.principals.length];
    }),
  );
}

const accounts = () => ours(on.lab, `/api/v1/namespaces/${namespace}/serviceaccounts`);

it('denies a principal everywhere and deletes its ServiceAccount, until its last certificate has expired', async () => {
  await mesh.authority.sign({ namespace, serviceAccount: 'ann-1', csr: await freshCsr(), ttl: 600, queue: 'arrival' });
  expect(await accounts()).toEqual(['ann-1']);
  await mesh.revoker.apply([revoked('ann-1')]);
  expect(await accounts()).toEqual([]);
  const policy = (await items(on.lab, ROOT_POLICIES)).find(({ metadata }) => metadata.name === 'meshpass-revoked');
  expect(policy?.spec).toEqual({
    action: 'DENY',
    rules: [{ from: [{ source: { principals: [`cluster.local/ns/${namespace}/sa/ann-1`] } }] }],
  });
  await mesh.revoker.apply([revoked('ann-1', seconds() - 1)]);
  expect(await denied()).toEqual({});
});

it('is not undone by the reconciler, nor by a second start', async () => {
  await mesh.revoker.apply([revoked('ann-2'), revoked('ann-3')]);
  mesh.close();
  mesh = await on.connect({ resyncSeconds: 1 });
  await untilReady(mesh);
  expect(await denied()).toEqual({ 'meshpass-revoked': 2 });
  await mesh.revoker.apply([revoked('ann-3'), revoked('ann-4')]);
  expect(await denied()).toEqual({ 'meshpass-revoked': 2 });
});

it('spreads many over several policies, and one more rewrites one of them', async () => {
  const many = Array.from({ length: 900 }, (_, index) => revoked(`many-${index}`));
  await mesh.revoker.apply(many);
  expect(await denied()).toEqual({ 'meshpass-revoked': 400, 'meshpass-revoked-1': 400, 'meshpass-revoked-2': 100 });
  const before = await items(on.lab, ROOT_POLICIES);
  await mesh.revoker.apply([...many, revoked('one-more')]);
  const after = await items(on.lab, ROOT_POLICIES);
  const changed = after.filter((policy) => !before.some((old) => JSON.stringify(old) === JSON.stringify(policy)));
  expect(changed.map(({ metadata }) => metadata.name)).toEqual(['meshpass-revoked-2']);
  await mesh.revoker.apply([]);
  expect(await denied()).toEqual({});
});

it('stores thousands with the longest names in objects that Kubernetes accepts, and releases all of them', async () => {
  const long = (index: number) => `${'x'.repeat(58)}-${String(index).padStart(4, '0')}`;
  const many = Array.from({ length: 3_000 }, (_, index): RevokedPrincipal => {
    const one = revoked(long(index));
    const far = `meshpass-${'y'.repeat(54)}`;
    return { ...one, namespace: far, spiffeId: one.spiffeId.replace(namespace, far) };
  });
  // Their accounts are not there, and deleting each takes its time: this is about the policies.
  const http = createKubernetesHttp(await kubeconfigAccess(on.kubeconfig));
  const cluster = { ...createKubernetes(http), deleteServiceAccount: async () => {} };
  const alone = createRevoker({
    kubernetes: cluster,
    trustDomain: 'cluster.local',
    rootNamespace: 'istio-system',
    now: seconds,
    httpServers,
  });
  await alone.apply(many);
  const held = await denied();
  expect(Object.keys(held)).toHaveLength(8);
  expect(Object.values(held).reduce((sum, count) => sum + count)).toBe(3_000);
  for (const policy of await items(on.lab, ROOT_POLICIES))
    expect(Buffer.byteLength(JSON.stringify(policy))).toBeLessThan(512 * 1024);
  await alone.apply([]);
  expect(await denied()).toEqual({});
  http.close();
});

it('repairs foreign writes and writes of a late broker', async () => {
  let ahead = 0;
  const http = createKubernetesHttp(await kubeconfigAccess(on.kubeconfig));
  const at = { trustDomain: 'cluster.local', rootNamespace: 'istio-system', now: () => seconds() + ahead, httpServers };
  const active = createRevoker({ kubernetes: createKubernetes(http), ...at });
  const late = createRevoker({ kubernetes: createKubernetes(http), ...at });
  await active.apply([revoked('ann-7'), revoked('ann-8')]);
  await late.apply([revoked('ann-7')]);
  expect(await denied()).toEqual({ 'meshpass-revoked': 1 });
  // Revocations are repeated every minute, whether or not anything changed.
  ahead = 60;
  await active.apply([revoked('ann-7'), revoked('ann-8')]);
  expect(await denied()).toEqual({ 'meshpass-revoked': 2 });
  await active.apply([]);
  http.close();
});

it('denies the tokens of ended sessions, on granted HTTP ports only, until they have expired', async () => {
  const policies = async () =>
    (await items(on.lab, ROOT_POLICIES)).filter(({ metadata }) => metadata.name.startsWith('meshpass-ended-sessions'));
  const ended = (account: string) => ({ ...revoked(account), sessionId: `session of ${account}` });
  await mesh.revoker.apply([ended('ann-9'), revoked('narrowed-1')]);
  expect((await policies()).map(({ spec }) => spec)).toEqual([
    {
      action: 'DENY',
      rules: [
        {
          from: [{ source: { namespaces: [namespace] } }],
          when: [
            { key: 'connection.sni', values: ['outbound_.8080_.*'] },
            { key: 'connection.sni', values: ['*_.orders.shop.svc.cluster.local'] },
            { key: 'request.auth.claims[sid]', values: ['session of ann-9'] },
          ],
        },
      ],
    },
  ]);
  // A broker that has no access file yet knows no ports: it leaves what there is.
  const http = createKubernetesHttp(await kubeconfigAccess(on.kubeconfig));
  const at = { trustDomain: 'cluster.local', rootNamespace: 'istio-system', now: seconds };
  await createRevoker({ kubernetes: createKubernetes(http), ...at, httpServers }).apply([]);
  expect(await policies()).toHaveLength(1);
  // One that has a file without HTTP must not write a rule without ports.
  const none = () => ({ namespaces: [namespace], ports: [] });
  await createRevoker({ kubernetes: createKubernetes(http), ...at, httpServers: none }).apply([ended('ann-9')]);
  expect(await policies()).toEqual([]);
  http.close();
  // Another broker has taken it away: it is put right when it is due.
  await mesh.revoker.apply([{ ...ended('ann-9'), until: seconds() - 1 }]);
  expect(await policies()).toEqual([]);
  await mesh.revoker.apply([]);
});

it('lists the principals of sessions in the cluster: those with a ServiceAccount, and those denied', async () => {
  await mesh.authority.sign({ namespace, serviceAccount: 'ann-10', csr: await freshCsr(), ttl: 600, queue: 'arrival' });
  await mesh.authority.sign({
    namespace,
    serviceAccount: RELAY_ACCOUNT,
    csr: await freshCsr(),
    ttl: 600,
    queue: 'arrival',
  });
  await mesh.revoker.apply([revoked('ann-11')]);
  const { until: _, ...denied } = revoked('ann-11');
  const { until: __, ...account } = revoked('ann-10');
  const here = async () => (await mesh.revoker.principals()).filter((one) => one.namespace === namespace);
  expect(await here()).toEqual([account, denied]);
  await mesh.revoker.apply([revoked('ann-10')]);
  await mesh.revoker.apply([]);
  expect(await here()).toEqual([]);
});

it('collects ServiceAccounts that no session has, but not young ones and not those of others', async () => {
  await mesh.authority.sign({
    namespace,
    serviceAccount: 'young-1',
    csr: await freshCsr(),
    ttl: 600,
    queue: 'arrival',
  });
  expect(await mesh.revoker.collectOrphans(new Set())).toEqual([]);
  expect(await accounts()).toContain('young-1');

  const http = createKubernetesHttp(await kubeconfigAccess(on.kubeconfig));
  const inFiveMinutes = () => seconds() + 300;
  const at = { trustDomain: 'cluster.local', rootNamespace: 'istio-system', now: inFiveMinutes, httpServers };
  const later = createRevoker({ kubernetes: createKubernetes(http), ...at });
  const spiffeId = `spiffe://cluster.local/ns/${namespace}/sa/young-1`;
  expect(await later.collectOrphans(new Set([spiffeId]))).not.toContain(spiffeId);
  const relay = { namespace, serviceAccount: RELAY_ACCOUNT };
  await mesh.authority.sign({ ...relay, csr: await freshCsr(), ttl: 600, queue: 'arrival' });
  expect(await later.collectOrphans(new Set())).toContain(spiffeId);
  http.close();
  // It belongs to no session, and is needed while the grant exists.
  expect(await accounts()).toEqual([RELAY_ACCOUNT]);
});
