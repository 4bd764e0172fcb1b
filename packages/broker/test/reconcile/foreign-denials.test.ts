/** Revocation policy with foreign entries: the ones that a broker adopts after a restore. */
import { RELAY_ACCOUNT } from '@meshpass/identity';
import { expect, it } from 'vitest';
import type { Kubernetes } from '../../src/mesh/kubernetes/kubernetes.ts';
import { createRevoker } from '../../src/mesh/reconcile/revocation/revoker.ts';

it('ignores principals whose ServiceAccount is in no namespace of a grant: the broker may not delete it', async () => {
  const principals = ['meshpass-dev/sa/ann-1', 'shop/sa/orders', `meshpass-dev/sa/${RELAY_ACCOUNT}`];
  const source = { principals: principals.map((one) => `cluster.local/ns/${one}`) };
  const policy = { metadata: { name: 'meshpass-revoked' }, spec: { action: 'DENY', rules: [{ from: [{ source }] }] } };
  const list = async (kind: string) => (kind === 'AuthorizationPolicy' ? [policy] : []);
  const revoker = createRevoker({
    kubernetes: { list } as unknown as Kubernetes,
    trustDomain: 'cluster.local',
    rootNamespace: 'istio-system',
    httpServers: () => undefined,
    now: () => 0,
  });
  const spiffeId = 'spiffe://cluster.local/ns/meshpass-dev/sa/ann-1';
  expect(await revoker.principals()).toEqual([{ namespace: 'meshpass-dev', serviceAccount: 'ann-1', spiffeId }]);
});
