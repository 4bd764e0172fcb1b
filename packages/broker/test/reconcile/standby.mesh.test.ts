/** A broker that stands by sees the mesh and changes nothing of it, until it is the active one. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createActiveState } from '../../src/store/active-state.ts';
import {
  freshCsr,
  identityTokens,
  items,
  type OnLab,
  onLab,
  ours,
  POLICIES,
  until,
  untilReady,
} from '../harness/on-lab.ts';

const ACCESS = `
trust:
  codespaces: {organization: acme}
grants:
  waiting:
    who: [{user: ann}]
    to: [{service: orders.shop, port: 8080}]
`;
const AUTHENTICATIONS = '/apis/security.istio.io/v1/namespaces/istio-system/requestauthentications';
const namespace = 'meshpass-waiting';
const NOT_ACTIVE = { code: 'kubernetes_unavailable', message: expect.stringContaining('This broker is not active') };

let on: OnLab;
beforeAll(async () => {
  on = await onLab(ACCESS);
});
afterAll(() => on?.end());

it('applies, signs and denies nothing; its first policies then have the current keys', async () => {
  const activeState = createActiveState();
  let isLeader = true;
  let tokens = identityTokens();
  const mesh = await on.connect({}, { activeState, tokens: () => tokens });
  // All that is missing is that it may.
  await until(mesh.state.unready, (reasons) => reasons.join() === 'the access file has not been applied yet');
  await new Promise((resolve) => setTimeout(resolve, 500));
  const gone = { namespace, serviceAccount: 'ann-1', spiffeId: `spiffe://cluster.local/ns/${namespace}/sa/ann-1` };
  const deny = () => mesh.revoker.apply([{ ...gone, until: Math.floor(Date.now() / 1000) + 60 }]);
  const order = { namespace, serviceAccount: 'ann-2', csr: await freshCsr(), ttl: 600, queue: 'arrival' as const };
  await expect(deny()).rejects.toMatchObject(NOT_ACTIVE);
  await expect(mesh.authority.sign(order)).rejects.toMatchObject(NOT_ACTIVE);
  expect(await ours(on.lab, POLICIES)).toEqual([]);
  expect(await ours(on.lab, '/api/v1/namespaces')).toEqual([]);

  tokens = { ...identityTokens(), jwks: JSON.stringify({ keys: [{ kty: 'RSA', kid: 'k2', n: 'AQAB', e: 'AQAB' }] }) };
  activeState.activate(() => isLeader);
  await untilReady(mesh);
  const [authentication] = (await items(on.lab, AUTHENTICATIONS)).filter(({ metadata }) =>
    metadata.name.startsWith('meshpass'),
  );
  expect(JSON.stringify(authentication?.spec)).toContain('k2');
  // It was written once, never with the previous keys.
  expect(authentication?.metadata).toMatchObject({ generation: 1 });
  await deny();

  // It no longer knows.
  isLeader = false;
  await expect(mesh.revoker.apply([])).rejects.toMatchObject(NOT_ACTIVE);
  expect(await ours(on.lab, POLICIES)).toContain('meshpass-revoked');
  isLeader = true;
  await mesh.revoker.apply([]);
  expect(await ours(on.lab, POLICIES)).not.toContain('meshpass-revoked');
});
