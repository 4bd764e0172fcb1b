/** Changes while policies are being applied: the last request is in force afterwards. The cluster is played. */
import { writeFileSync } from 'node:fs';
import { parseAccess } from '@meshpass/access';
import { MeshpassError } from '@meshpass/identity';
import { expect, it, vi } from 'vitest';
import type { LiveMeshState } from '../../src/mesh/reconcile/mesh-state.ts';
import { orders, playCluster } from './played-cluster.ts';

const file = (user: string, more = '') => `trust: {codespaces: {organization: acme}}
grants:
  dev:
    who: [{user: ${user}}]
    to: [{service: orders.shop, port: 80${more}}]
`;

/** Other objects. */
const LESS = ', allow: [GET /orders/*]';

const eventually = (check: () => void) => vi.waitFor(check, { timeout: 60_000, interval: 20 });
/** Longer than changes are gathered. */
const settle = () => new Promise((resolve) => setTimeout(resolve, 300));
const userOf = (mesh: LiveMeshState) => mesh.access().grants[0]!.who[0]!.user;

async function expectToStay(mesh: LiveMeshState, user: string): Promise<void> {
  await eventually(() => expect(userOf(mesh)).toBe(user));
  await settle();
  expect(userOf(mesh)).toBe(user);
}

async function started() {
  const played = playCluster();
  writeFileSync(played.path, file('ann'));
  const mesh = played.start();
  await eventually(() => expect(mesh.inForce()).toBe(true));
  await settle();
  const { cluster } = played;
  /** Delays each apply. @returns function that lets them continue */
  const hold = async (change: () => void) => {
    const open = cluster.hold();
    const before = cluster.applying;
    change();
    await eventually(() => expect(cluster.applying).toBeGreaterThan(before));
    return open;
  };
  const ours = (generation: number) => {
    cluster.ours = [`meshpass-guard-dev@${generation}`];
    cluster.changed();
  };
  return { ...played, mesh, hold, ours };
}

it('a Pod that starts is known afterwards, though it changes no policy', async () => {
  const { cluster, mesh, hold, ours } = await started();
  const open = await hold(() => ours(2));
  cluster.services = [{ ...orders, workloads: [{ serviceAccount: 'orders', labels: { app: 'orders' } }] }];
  cluster.changed();
  await settle();
  open();
  const known = ['spiffe://cluster.local/ns/shop/sa/orders'];
  await eventually(() => expect(mesh.services(['dev'])[0]?.spiffe_ids).toEqual(known));
});

it('a file that compiles to the previous objects is in force afterwards, and stays', async () => {
  const { path, mesh, hold, ours } = await started();
  const open = await hold(() => ours(2));
  ours(1);
  await settle();
  writeFileSync(path, file('eve'));
  await mesh.reload();
  await settle();
  open();
  await expectToStay(mesh, 'eve');
});

it('a file that came into force stays, though one of its Services was deleted in the meantime', async () => {
  const { cluster, path, mesh, hold } = await started();
  const ledger = { ...orders, name: 'ledger', selector: { app: 'ledger' } };
  cluster.services = [orders, ledger];
  cluster.changed();
  await settle();
  const both = `${file('eve')}      - {service: ledger.shop, port: 80}\n`.replace(
    'to: [{service: orders.shop, port: 80}]',
    'to:\n      - {service: orders.shop, port: 80}',
  );
  const open = await hold(() => {
    writeFileSync(path, both);
    void mesh.reload();
  });
  cluster.services = [orders];
  cluster.changed();
  await settle();
  open();
  await expectToStay(mesh, 'eve');
});

it('a file that is reverted on disk does not come into force', async () => {
  const { path, mesh, hold } = await started();
  const open = await hold(() => {
    writeFileSync(path, file('eve', LESS));
    void mesh.reload();
  });
  writeFileSync(path, 'grants: [');
  await mesh.reload();
  open();
  await settle();
  expect(userOf(mesh)).toBe('ann');
});

it('a file that Kubernetes refuses for now, and that is reverted, is not tried again', async () => {
  const { cluster, path, mesh } = await started();
  cluster.refusal = new MeshpassError('kubernetes_unavailable', 'No.', { detail: { status: 503 } });
  writeFileSync(path, file('eve', LESS));
  await mesh.reload();
  await settle();
  writeFileSync(path, 'grants: [');
  await eventually(() => expect(mesh.fileProblem()).toBeDefined());
  cluster.refusal = undefined;
  // Longer than the longest pause between the tries so far.
  await new Promise((resolve) => setTimeout(resolve, 2_500));
  expect(userOf(mesh)).toBe('ann');
});

it("a plan's file that another one replaced while it was being applied does not come into force", async () => {
  const { mesh, hold } = await started();
  let refused: Promise<unknown> = Promise.resolve();
  const open = await hold(() => {
    refused = mesh.take(parseAccess(file('eve', LESS), 'given.yaml')).catch((error: MeshpassError) => error.code);
  });
  // A file that arrives in the meantime takes its place.
  const later = mesh.take(parseAccess(file('bob', LESS), 'later.yaml'));
  open();
  expect(await refused).toBe('plan_stale');
  await later;
  await settle();
  expect(userOf(mesh)).toBe('bob');
});
