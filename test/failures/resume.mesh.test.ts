/** The broker is killed (SIGKILL) between two steps of a session's end: the next one takes the rest of them. */
import { readFileSync } from 'node:fs';
import type { AdversarialClient } from '@meshpass/lab/adversarial-client/drive';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type DataPath, enrolled, openDataPath, until } from '../mesh.ts';

let dataPath: DataPath;
let adversary: AdversarialClient;

beforeAll(async () => {
  dataPath = await openDataPath({ edgeApart: true });
  adversary = dataPath.adversary();
});
afterAll(() => dataPath?.close());

const GRANT = 'payments-dev';
const DENY = '/apis/security.istio.io/v1/namespaces/istio-system/authorizationpolicies/meshpass-revoked';
const ROLE = '/apis/rbac.authorization.k8s.io/v1/clusterroles/meshpass-broker';

const isDenied = async (spiffeId: string) => {
  const policy = JSON.stringify(await dataPath.lab.kubernetes.call('GET', DENY).catch(() => undefined)) ?? '';
  return policy.includes(spiffeId.replace('spiffe://', ''));
};

async function sessionOf(name: string) {
  const client = adversary.as(name);
  await enrolled(dataPath, client);
  const { spiffeId } = (await client.show()).svids[GRANT]!;
  const account = spiffeId.replace(/^.*\/ns\/(.*)\/sa\//, '$1/');
  expect(await dataPath.accounts()).toContain(account);
  return { client, spiffeId, account };
}

async function isOverEverywhere({ client, spiffeId, account }: Awaited<ReturnType<typeof sessionOf>>): Promise<void> {
  await until(
    () => isDenied(spiffeId),
    (denied) => denied,
    60,
  );
  await until(
    () => dataPath.accounts(),
    (accounts) => !accounts.includes(account),
    60,
  );
  await until(
    () => client.renew(),
    // The broker that ended it remembers that; the next one has never known it.
    (renewal) => renewal.kind === 'ended' || (renewal.kind === 'refused' && renewal.code === 'session_unknown'),
  );
  // A broker that is killed as it answers may not have told the edges: they learn it from the next one, when they have found that.
  await until(
    () => client.tunnel({ target: 'orders.shop.svc.cluster.local:8080', grant: GRANT, edge: dataPath.meshpass.edge }),
    ({ stage }) => stage === 'edge',
  );
}

/** An answered request is in the store. The broker notifies edges and mesh afterwards. */
const goodbye = async (client: AdversarialClient) =>
  expect(await client.speak('DELETE', '/session')).toMatchObject({ status: 204 });

it('before the mesh is told', async () => {
  const untold = async (): Promise<Awaited<ReturnType<typeof sessionOf>>> => {
    const session = await sessionOf('before the mesh is told');
    const api = pidOf('kube-apiserver');
    process.kill(api, 'SIGSTOP');
    try {
      await goodbye(session.client);
      await dataPath.lab.kill('meshpass');
    } finally {
      process.kill(api, 'SIGCONT');
    }
    if (!(await isDenied(session.spiffeId))) return session;
    // The broker was quicker than the signal: its order lay with Kubernetes already.
    await dataPath.lab.restart('meshpass');
    return await untold();
  };
  const session = await untold();
  expect(await dataPath.accounts()).toContain(session.account);
  await dataPath.lab.restart('meshpass');
  await isOverEverywhere(session);
}, 180_000);

it('after its principal is denied, before its ServiceAccount is deleted', async () => {
  const session = await sessionOf('before its account is deleted');
  const role = (await dataPath.lab.kubernetes.call('GET', ROLE)) as Role;
  const may = (rules: Role['rules']) =>
    dataPath.lab.kubernetes.call('PUT', ROLE, { ...role, metadata: { name: role.metadata.name }, rules });
  await may(
    role.rules.map((rule) =>
      rule.resources.includes('serviceaccounts')
        ? { ...rule, verbs: rule.verbs.filter((verb) => verb !== 'delete') }
        : rule,
    ),
  );
  try {
    await goodbye(session.client);
    await until(
      () => isDenied(session.spiffeId),
      (denied) => denied,
      60,
    );
    await dataPath.lab.kill('meshpass');
    expect(await dataPath.accounts()).toContain(session.account);
  } finally {
    await may(role.rules);
  }
  await dataPath.lab.restart('meshpass');
  await isOverEverywhere(session);
}, 180_000);

it('after all of them: nothing is done that has to be done once', async () => {
  const session = await sessionOf('after all of them');
  await goodbye(session.client);
  await isOverEverywhere(session);
  await dataPath.lab.restart('meshpass');
  await isOverEverywhere(session);
  const closed = (await dataPath.audit()).filter((row) => row.action === 'session.close');
  expect(closed.map((row) => row.session_id)).toEqual([...new Set(closed.map((row) => row.session_id))]);
}, 180_000);

interface Role {
  readonly metadata: { readonly name: string };
  readonly rules: readonly { readonly resources: readonly string[]; readonly verbs: readonly string[] }[];
}

function pidOf(unit: string): number {
  return (JSON.parse(readFileSync(`${dataPath.lab.dir}/units/${unit}.json`, 'utf8')) as { pid: number }).pid;
}
