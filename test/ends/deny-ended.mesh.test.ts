/**
 * A broker that denies revoked sessions only: if a workspace ends its session, no policy of the mesh changes, so no Envoy
 * drains connections; if an operator revokes access, the sidecar refuses.
 */
import { type DrillReport, failedRows } from '@meshpass/identity/drill-report';
import type { AdversarialClient } from '@meshpass/lab/adversarial-client/drive';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type DataPath, enrolled, ORDERS, openDataPath, until } from '../mesh.ts';

let dataPath: DataPath;
const GRANT = 'payments-dev';

beforeAll(async () => {
  dataPath = await openDataPath({ flags: ['--deny-ended', 'revoked'] });
});
afterAll(() => dataPath?.close());

const POLICIES =
  '/apis/security.istio.io/v1/authorizationpolicies?labelSelector=app.kubernetes.io%2Fmanaged-by%3Dmeshpass';
/** Version of each AuthorizationPolicy, because istiod sends each change to the Envoys. */
async function policies(): Promise<Record<string, string>> {
  const { items } = (await dataPath.lab.kubernetes.call('GET', POLICIES)) as {
    items: { metadata: { namespace: string; name: string; resourceVersion: string } }[];
  };
  return Object.fromEntries(
    items.map(({ metadata: { namespace, name, resourceVersion } }) => [`${namespace}/${name}`, resourceVersion]),
  );
}

const request = (token: string) =>
  `GET /orders/1 HTTP/1.1\r\nhost: orders.shop:8080\r\nx-meshpass-token: ${token}\r\n\r\n`;
/** Calls the pod directly, past edge and gateway, from the host of GitHub, which is on the cluster's network here. */
async function fromInside(by: AdversarialClient): Promise<string> {
  const straightTo = { host: dataPath.lab.hosts.orders!.ip, port: 8080 };
  const { identityToken } = await by.show();
  const { stage, answer } = await by.tunnel({
    target: ORDERS,
    grant: GRANT,
    straightTo,
    send: request(identityToken!),
  });
  return /^HTTP\/1\.1 (\d{3}) /.exec(answer ?? '')?.[1] ?? stage;
}
const atTheEdge = async (by: AdversarialClient) => {
  const report = await by.tunnel({ target: ORDERS, grant: GRANT, edge: dataPath.meshpass.edge });
  return report.edgeCode ?? report.stage;
};
const closing = async (session: string) =>
  (await dataPath.audit({ session })).find(({ action }) => action === 'session.close');

it('leaves every policy as it is when a workspace says goodbye, and all but the SVID from inside is dead', async () => {
  const adversary = dataPath.adversary('github');
  const session = await enrolled(dataPath, adversary);
  await until(
    () => fromInside(adversary),
    (status) => status === '200',
  );
  const before = await policies();
  expect(await adversary.speak('DELETE', '/session')).toMatchObject({ status: 204 });
  expect(await atTheEdge(adversary)).toBe('tunnel_session_unknown');
  expect(await adversary.certificate(GRANT)).toMatchObject({ status: 401 });
  // Once the ServiceAccount is gone, the mesh has the DENY, which the broker writes first.
  await until(dataPath.accounts, (accounts) => accounts.length === 0);
  expect(await policies()).toEqual(before);
  expect(await fromInside(adversary)).toBe('200');
  const row = await closing(session);
  expect(JSON.parse(row!.detail!)).toMatchObject({
    cause: 'goodbye',
    denied_in_mesh: false,
    svids_live_until: expect.stringMatching(/^20\d\d-/),
  });

  await dataPath.lab.kill('meshpass');
  await dataPath.lab.restart('meshpass');
  const next = dataPath.adversary('github');
  await until(
    () =>
      enrolled(dataPath, next).then(
        () => true,
        () => false,
      ),
    (open) => open,
  );
  expect(await policies()).toEqual(before);
  await next.speak('DELETE', '/session');
}, 180_000);

it('denies at the sidecar what an operator closes, and still does after it was killed', async () => {
  const adversary = dataPath.adversary('github');
  const session = await enrolled(dataPath, adversary, 'alice');
  await until(
    () => fromInside(adversary),
    (status) => status === '200',
  );
  const closed = await fetch(`${dataPath.meshpass.operatorUrl}/admin/sessions/close`, {
    method: 'POST',
    headers: { authorization: `Bearer ${dataPath.meshpass.operatorToken}`, 'content-type': 'application/json' },
    body: JSON.stringify({ id: session }),
  });
  expect(closed.status).toBe(200);
  await until(
    () => fromInside(adversary),
    (status) => status === '403',
  );
  expect(JSON.parse((await closing(session))!.detail!)).not.toHaveProperty('denied_in_mesh');
  const held = Object.keys(await policies());
  expect(held).toEqual(
    expect.arrayContaining(['istio-system/meshpass-revoked', 'istio-system/meshpass-ended-sessions']),
  );
  await dataPath.lab.kill('meshpass');
  await dataPath.lab.restart('meshpass');
  expect(await fromInside(adversary)).toBe('403');
  expect(Object.keys(await policies())).toEqual(held);
}, 180_000);

it('is known to the drill, which notes what lives inside and finds the rest dead', async () => {
  const { lab, meshpass } = dataPath;
  const operator = { MESHPASS_OPERATOR_TOKEN: meshpass.operatorToken, MESHPASS_OPERATOR: meshpass.operatorUrl };
  const env = { ...(await dataPath.environment('alice', 'github')), ...operator };
  const inside = [
    ...['--kubeconfig', lab.kubeconfig, '--inside-gateway', lab.gatewayAddress],
    ...['--inside-pod', `orders.shop:8080=${lab.hosts.orders!.ip}:8080`],
    ...['--inside-pod', `ledger-db.shop:5432=${lab.hosts['ledger-db']!.ip}:5432`],
  ];
  const drill = async (cause: string): Promise<DrillReport> => {
    const argv = ['meshpass', 'drill', '--output', 'json', '--cause', cause, ...inside];
    const { code, stdout, stderr } = await lab.exec('github', argv, { env });
    expect(code, stdout + stderr).toBe(0);
    return JSON.parse(stdout) as DrillReport;
  };
  const byDeny = ({ rows }: DrillReport) =>
    rows.filter(({ how }) => /^SVID is valid until 20.*: this broker denies only revoked sessions/.test(how));

  const goodbye = await drill('goodbye');
  expect(failedRows(goodbye)).toEqual([]);
  expect(new Set(byDeny(goodbye).map(({ layer }) => layer))).toEqual(new Set(['mesh gateway', 'sidecar', 'root DENY']));
  for (const { outcome } of byDeny(goodbye)) expect(outcome).toBe('noted');
  const dead = new Set(goodbye.rows.filter(({ outcome }) => outcome === 'dead').map(({ layer }) => layer));
  for (const layer of [
    'token endpoint',
    'session renewal',
    'certificate renewal',
    'configuration',
    'control channel',
    'edge',
    'TokenReview',
    'ServiceAccount',
    'store',
  ])
    expect(dead).toContain(layer);

  const admin = await drill('admin');
  expect(failedRows(admin)).toEqual([]);
  expect(byDeny(admin)).toEqual([]);
}, 180_000);
