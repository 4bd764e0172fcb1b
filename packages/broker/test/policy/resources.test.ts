/** Objects that a plan depends on. Calls are answered as by a cluster that refuses one kind. */
import { MeshpassError } from '@meshpass/identity';
import { expect, it } from 'vitest';
import { readPolicyResources } from '../../src/mesh/reconcile/policy-resources.ts';

const refusing = (refused: string, status: number) => ({
  list: async (kind: string) => {
    if (kind !== refused) return [{ apiVersion: 'v1', kind, metadata: { name: `a-${kind.toLowerCase()}` } }];
    throw new MeshpassError('kubernetes_unavailable', 'The request to Kubernetes failed.', { detail: { status } });
  },
});

it('names the kind that the broker may not list, and how to change that', async () => {
  await expect(readPolicyResources(refusing('DestinationRule', 403))).rejects.toMatchObject({
    code: 'policy_forbidden',
    message: expect.stringMatching(
      /not allow the broker to list DestinationRule objects \(networking\.istio\.io\/v1\).*Upgrade the broker's rights/,
    ),
  });
});

it('has no objects of a kind that is not installed, and fails for any other reason', async () => {
  const objects = await readPolicyResources(refusing('WasmPlugin', 404));
  expect(objects.map(({ kind }) => kind)).toContain('DestinationRule');
  expect(objects.map(({ kind }) => kind)).not.toContain('WasmPlugin');
  await expect(readPolicyResources(refusing('Pod', 500))).rejects.toMatchObject({ code: 'kubernetes_unavailable' });
});
