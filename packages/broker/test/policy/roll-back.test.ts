/** Going back to an earlier access file, while another change is under way. */
import { parseAccess } from '@meshpass/access';
import { expect, it } from 'vitest';
import { createPolicyChanges } from '../../src/admin/policy/change.ts';

const file = (user: string) => `trust: {codespaces: {organization: acme}}
grants: {dev: {who: [{user: ${user}}], to: [{service: orders.shop, port: 8080}]}}
`;

it('is refused if another file comes into force first, because the previous file decided its permission', async () => {
  let inForce = parseAccess(file('ann'), 'access.yaml');
  const looking = Promise.withResolvers<never>();
  const mesh = { inForce: () => inForce, read: () => looking.promise, shape: {}, tokens: () => undefined };
  // Neither the prover nor the store is asked.
  const changes = createPolicyChanges(mesh as never, {} as never, {} as never, {} as never);
  const kept = { main: 'access.yaml', files: { 'access.yaml': file('bob') } };
  const change = changes.apply(kept, 'plan', { by: 'ada' }, {} as never);
  const back = changes.rollBack(1, 'as it was', { by: 'bob' }, {} as never).catch((thrown) => thrown);
  inForce = parseAccess(file('bob'), 'access.yaml');
  looking.reject(new Error('the cluster is away'));
  await expect(change).rejects.toThrow('the cluster is away');
  expect(await back).toMatchObject({ code: 'plan_stale' });
});
