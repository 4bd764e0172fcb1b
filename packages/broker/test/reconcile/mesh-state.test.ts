/** Rare orders of events: the cluster is played, and everything else is real. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Manifest, parseAccess } from '@meshpass/access';
import { MeshpassError } from '@meshpass/identity';
import { expect, it, vi } from 'vitest';
import { readAccessFile } from '../../src/mesh/reconcile/access-file.ts';
import type { FormerAccessFile, LiveMeshState } from '../../src/mesh/reconcile/mesh-state.ts';
import { orders, playCluster } from './played-cluster.ts';

const file = (user: string) => `trust: {codespaces: {organization: acme}}
grants:
  dev:
    who: [{user: ${user}}]
    to: [{service: orders, namespace_labels: {team: payments}, port: 80}]
`;

const eventually = (check: () => void) => vi.waitFor(check, { timeout: 15_000, interval: 20 });

it('a file that compiles to the objects that are being applied comes into force', async () => {
  const { cluster, path, start } = playCluster();
  writeFileSync(path, file('ann'));
  const mesh = start();
  await eventually(() => expect(mesh.inForce()).toBe(true));

  // Another user changed a policy of ours: the broker is writing it again, for the file in force, ...
  const open = cluster.hold();
  const before = cluster.applying;
  cluster.ours = ['meshpass-guard-dev@2'];
  cluster.changed();
  await eventually(() => expect(cluster.applying).toBeGreaterThan(before));
  // ... when a file arrives that differs only in `who`, and so compiles to the same objects.
  const decisions: string[] = [];
  mesh.onDecision(({ outcome }) => decisions.push(outcome));
  writeFileSync(path, file('eve'));
  await mesh.reload();
  await new Promise((resolve) => setTimeout(resolve, 300));
  open();
  await eventually(() => expect(mesh.access().grants[0]!.who[0]!.user).toBe('eve'));
  expect(decisions.at(-1)).toBe('allowed');
});

it('the Pods of namespaces that are selected are followed, as long as they are', async () => {
  const { cluster, path, start } = playCluster();
  writeFileSync(path, file('ann'));
  const mesh = start();
  await eventually(() => expect(cluster.followed).toEqual(['shop']));
  await eventually(() => expect(mesh.services(['dev'])).toMatchObject([{ host: 'orders.shop.svc.cluster.local' }]));
  cluster.namespaces = [{ name: 'shop', labels: {} }];
  cluster.changed();
  await eventually(() => expect(cluster.followed).toEqual([]));
  await eventually(() => expect(mesh.services(['dev'])).toEqual([]));
});

it('a selected Service that cannot be granted is said, and forgotten when it can', async () => {
  const { cluster, path, start } = playCluster();
  const undeclared = { ...orders, ports: orders.ports.map((port) => ({ ...port, protocol: 'undeclared' as const })) };
  cluster.services = [undeclared];
  writeFileSync(path, file('ann'));
  const mesh = start();
  await eventually(() => expect(mesh.inForce()).toBe(true));
  expect(mesh.problems()).toEqual([
    expect.stringMatching(/^access\.yaml:5:10 orders\.shop:80 does not declare a protocol/),
  ]);
  expect(mesh.unready()).toEqual([]);
  cluster.services = [orders];
  cluster.changed();
  await eventually(() => expect(mesh.services(['dev'])).toHaveLength(1));
  expect(mesh.problems()).toEqual([]);
});

it('reads a changed included file, even if only it changed', async () => {
  const { dir, path, start } = playCluster();
  const more = (user: string) => `grants:\n  more: {who: [{user: ${user}}], to: [{service: orders.shop, port: 80}]}\n`;
  writeFileSync(path, `include: [more.yaml]\n${file('ann')}`);
  const refusals: string[] = [];
  const mesh = start();
  mesh.onDecision(({ outcome, reason }) => {
    if (outcome === 'refused') refusals.push(reason);
  });
  await eventually(() => expect(refusals).toEqual(['access.yaml:1:11 more.yaml does not exist']));
  writeFileSync(join(dir, 'more.yaml'), more('bob'));
  await eventually(() => expect(mesh.access().grants.map(({ who }) => who[0]!.user)).toEqual(['ann', 'bob']));
  writeFileSync(join(dir, 'more.yaml'), more('eve'));
  await eventually(() => expect(mesh.access().grants[1]!.who[0]!.user).toBe('eve'));
});

it('after a refused plan the file on disk stays in charge: its changes come into force', async () => {
  const { cluster, path, start } = playCluster();
  writeFileSync(path, file('ann'));
  const mesh = start();
  await eventually(() => expect(mesh.inForce()).toBe(true));
  cluster.refusal = new MeshpassError('kubernetes_unavailable', 'No.', { detail: { status: 422, message: 'denied' } });
  const wider = file('eve').replace('dev:', 'other:');
  const refused = { code: 'policy_forbidden', message: expect.stringContaining('denied') };
  await expect(mesh.take(parseAccess(wider, 'given.yaml'))).rejects.toMatchObject(refused);
  cluster.refusal = undefined;

  writeFileSync(path, file('bob'));
  await eventually(() => expect(mesh.access().grants[0]!.who[0]!.user).toBe('bob'));
});

it('a file on disk that changes while another one is being put in force is read when that is refused', async () => {
  const { cluster, path, start } = playCluster();
  writeFileSync(path, file('ann'));
  const mesh = start();
  await eventually(() => expect(mesh.inForce()).toBe(true));
  const open = cluster.hold();
  cluster.refusal = new MeshpassError('kubernetes_unavailable', 'No.', { detail: { status: 422, message: 'denied' } });
  const before = cluster.applying;
  const taken = mesh.take(parseAccess(file('eve').replace('dev:', 'other:'), 'given.yaml'));
  taken.catch(() => undefined);
  await eventually(() => expect(cluster.applying).toBeGreaterThan(before));
  writeFileSync(path, file('bob'));
  await mesh.reload();
  open();
  await expect(taken).rejects.toThrow('denied');
  cluster.refusal = undefined;
  await eventually(() => expect(mesh.access().grants[0]!.who[0]!.user).toBe('bob'));
});

it('a file that arrives while Kubernetes refuses the previous one comes into force without further reports about that one', async () => {
  const { cluster, path, start } = playCluster();
  writeFileSync(path, file('ann'));
  const mesh = start();
  await eventually(() => expect(mesh.inForce()).toBe(true));
  const open = cluster.hold();
  cluster.refusal = new MeshpassError('kubernetes_unavailable', 'No.', { detail: { status: 403, message: 'denied' } });
  const before = cluster.applying;
  writeFileSync(path, file('eve').replace('dev:', 'other:'));
  await mesh.reload();
  await eventually(() => expect(cluster.applying).toBeGreaterThan(before));
  writeFileSync(path, file('bob').replace('dev:', 'third:'));
  await mesh.reload();
  // It is compiled, and waits for the run under way.
  await new Promise((resolve) => setTimeout(resolve, 300));
  cluster.refusal = undefined;
  open();
  await eventually(() => expect(mesh.access().grants[0]!).toMatchObject({ name: 'third', who: [{ user: 'bob' }] }));
  await new Promise((resolve) => setTimeout(resolve, 500));
  expect(mesh.access().grants[0]!.name).toBe('third');
  expect([mesh.problems(), mesh.fileProblem()]).toEqual([[], undefined]);
});

it('the file on disk is ignored from the first applied plan on', async () => {
  const { path, start } = playCluster();
  writeFileSync(path, file('ann'));
  const mesh = start();
  await eventually(() => expect(mesh.inForce()).toBe(true));
  await mesh.take(parseAccess(file('eve'), 'given.yaml'));
  writeFileSync(path, file('bob'));
  await mesh.reload();
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(mesh.access().grants[0]!.who[0]!.user).toBe('eve');
});

it('the file on disk is in charge again after it was handed back, with each of its changes', async () => {
  const { path, start } = playCluster();
  writeFileSync(path, file('ann'));
  const mesh = start();
  await eventually(() => expect(mesh.inForce()).toBe(true));
  await mesh.take(parseAccess(file('eve'), 'given.yaml'));
  writeFileSync(path, file('bob'));
  await mesh.reload();
  expect(mesh.problems()).toEqual([expect.stringContaining('is ignored')]);
  const kept = readAccessFile(path);
  await mesh.take(parseAccess(kept.files[kept.main]!, kept.main));
  await mesh.followDisk();
  const who = () => mesh.access().grants[0]!.who[0]!.user;
  expect(who()).toBe('bob');
  expect(mesh.problems()).toEqual([]);
  for (const user of ['cleo', 'dan']) {
    writeFileSync(path, file(user));
    await mesh.reload();
    await eventually(() => expect(who()).toBe(user));
  }
});

it('reports a changed and ignored file on disk, even after a restart, and the end of that state if both agree', async () => {
  const { path, start, warnings } = playCluster();
  writeFileSync(path, file('ann'));
  const mesh = start();
  let digest: string | undefined;
  mesh.onDecision((decision) => {
    digest ??= decision.disk?.digest;
  });
  await eventually(() => expect(digest).toMatch(/^[0-9a-f]{64}$/));
  await mesh.take(parseAccess(file('eve'), 'given.yaml'));
  await mesh.reload();
  expect(mesh.problems(), 'the previous file, unchanged').toEqual([]);
  const ignored = expect.stringMatching(/^the access file on disk was changed but is ignored.*meshpass policy apply/);
  for (const changed of [file('bob'), 'grants: [']) {
    writeFileSync(path, changed);
    await mesh.reload();
    expect(mesh.problems()).toEqual([ignored]);
  }
  expect(warnings).toEqual(['the access file on disk is ignored']);
  writeFileSync(path, `# what is in force\n${file('eve')}`);
  await mesh.reload();
  expect(mesh.problems()).toEqual([]);
  mesh.close();

  writeFileSync(path, file('bob'));
  const next = start();
  next.resume(parseAccess(file('eve'), 'given.yaml'));
  next.wasInForce({ digest: digest!, access: undefined });
  await eventually(() => expect(next.inForce()).toBe(true));
  expect(next.problems()).toEqual([ignored]);
});

it('a broker that stands by reports why its access file could not come into force, for as long as it could not', async () => {
  const { cluster, path, start } = playCluster();
  writeFileSync(path, 'grants: [');
  const mesh = start({ activated: new Promise(() => {}) });
  await eventually(() => expect(mesh.fileProblem()).toMatch(/^access\.yaml:1:/));
  writeFileSync(
    path,
    file('ann').replace('service: orders, namespace_labels: {team: payments}', 'service: ledger.shop'),
  );
  await eventually(() => expect(mesh.fileProblem()).toMatch(/^access\.yaml:5:.*ledger/));
  cluster.services = [orders, { ...orders, name: 'ledger' }];
  cluster.changed();
  await eventually(() => expect(mesh.fileProblem()).toBeUndefined());
  expect([mesh.inForce(), cluster.applying]).toEqual([false, 0]);
});

const two = file('ann').replace('to: [', 'to: [{service: ledger.shop, port: 80}, ');

it('after a restart, missing services of the previous file are left out, while a new file is refused for them', async () => {
  const { cluster, path, start } = playCluster();
  cluster.services = [orders, { ...orders, name: 'ledger' }];
  writeFileSync(path, two);
  const before = start();
  let digest: string | undefined;
  before.onDecision((decision) => {
    digest = decision.disk?.digest;
  });
  await eventually(() => expect(digest).toMatch(/^[0-9a-f]{64}$/));
  before.close();

  cluster.services = [orders];
  const mesh = start();
  await eventually(() => expect(mesh.unready()[0]).toMatch(/ledger/));
  expect(mesh.inForce()).toBe(false);
  mesh.wasInForce({ digest: digest!, access: undefined });
  await eventually(() => expect(mesh.inForce()).toBe(true));
  expect(mesh.services(['dev'])).toMatchObject([{ host: 'orders.shop.svc.cluster.local' }]);
  expect([mesh.unready(), mesh.fileProblem()]).toEqual([[], undefined]);
  expect(mesh.problems()).toEqual([expect.stringMatching(/ledger/)]);
  mesh.close();

  writeFileSync(path, `${two}# another file\n`);
  const other = start();
  other.wasInForce({ digest: digest!, access: undefined });
  await eventually(() => expect(other.fileProblem()).toMatch(/ledger/));
  expect(other.inForce()).toBe(false);
});

it('the same goes for a file that was applied by plan before the restart', async () => {
  const { path, start } = playCluster();
  writeFileSync(path, file('ann'));
  const mesh = start();
  mesh.resume(parseAccess(two, 'given.yaml'));
  await eventually(() => expect(mesh.inForce()).toBe(true));
  expect(mesh.services(['dev'])).toMatchObject([{ host: 'orders.shop.svc.cluster.local' }]);
});

const denied = new MeshpassError('kubernetes_unavailable', 'No.', { detail: { status: 422, message: 'denied' } });
const LESS = ', allow: [GET /orders/*]';

/** @returns the file that came into force, as the store keeps it */
async function keptFrom(mesh: LiveMeshState): Promise<FormerAccessFile> {
  let kept: FormerAccessFile | undefined;
  mesh.onDecision(({ disk }) => {
    if (disk) kept = { digest: disk.digest, access: parseAccess(disk.files[disk.main]!, disk.main) };
  });
  await eventually(() => expect(kept).toBeDefined());
  return kept!;
}

it.each([
  ['does not parse', 'grants: [', undefined],
  ['names a service that the mesh does not have', file('eve').replace(/orders.*?}/, 'nowhere.shop'), undefined],
  ['grants what Kubernetes does not let the broker write', file('eve').replace('port: 80', `port: 80${LESS}`), denied],
])(
  'a file on disk that %s is refused, and after a start the previous one is in force again',
  async (_, text, refusal) => {
    const { cluster, path, start, warnings } = playCluster();
    writeFileSync(path, file('ann'));
    const before = start();
    const kept = await keptFrom(before);
    before.close();

    writeFileSync(path, text);
    cluster.refuses = (manifest) => (JSON.stringify(manifest).includes('/orders/*') ? refusal : undefined);
    const mesh = start();
    mesh.wasInForce(kept);
    await eventually(() => expect(mesh.inForce()).toBe(true));
    expect(mesh.access().grants[0]!.who[0]!.user).toBe('ann');
    expect([mesh.unready(), mesh.fileProblem()]).toEqual([[], expect.any(String)]);
    expect(mesh.problems()).toEqual([expect.stringContaining('the previous file stays in force: ')]);
    expect(warnings).toEqual([expect.stringContaining('the one from before the restart is in force again')]);

    writeFileSync(path, file('bob'));
    await eventually(() => expect(mesh.access().grants[0]!.who[0]!.user).toBe('bob'));
    expect([mesh.fileProblem(), mesh.problems()]).toEqual([undefined, []]);
  },
);

it('a new file on disk that is good comes into force at a start instead of the previous one', async () => {
  const { path, start } = playCluster();
  writeFileSync(path, file('ann'));
  const before = start();
  const kept = await keptFrom(before);
  before.close();

  writeFileSync(path, file('bob'));
  const mesh = start();
  mesh.wasInForce(kept);
  const seen: string[] = [];
  mesh.onChange(() => {
    if (mesh.inForce()) seen.push(mesh.access().grants[0]!.who[0]!.user!);
  });
  await eventually(() => expect(mesh.inForce()).toBe(true));
  expect(seen).toEqual(['bob']);
});

it("with GitOps, a new file that compiles to the cluster's objects comes into force at a start by itself", async () => {
  const { cluster, path, start } = playCluster();
  writeFileSync(path, file('ann'));
  const before = start();
  const kept = await keptFrom(before);
  cluster.listed = [...cluster.written.values()];
  before.close();
  writeFileSync(path, file('eve'));
  const mesh = start({ gitops: true });
  mesh.wasInForce(kept);
  await eventually(() => expect(mesh.inForce() && mesh.access().grants[0]!.who[0]!.user).toBe('eve'));
});

it.each([
  ['of the former one, and then of the new one', 'ann'],
  ['of the new one already', 'eve'],
])('with GitOps, the file from which the cluster was compiled comes into force at a start: %s', async (_, first) => {
  const { cluster, path, start } = playCluster();
  writeFileSync(path, file('ann'));
  const before = start();
  const kept = await keptFrom(before);
  const compiled = { ann: [...cluster.written.values()], eve: [] as Manifest[] };
  cluster.written.clear();
  writeFileSync(path, file('eve').replace('port: 80', `port: 80${LESS}`));
  await eventually(() => expect(before.access().grants[0]!.who[0]!.user).toBe('eve'));
  compiled.eve = [...cluster.written.values()];
  before.close();

  cluster.listed = compiled[first as 'ann' | 'eve'];
  const mesh = start({ gitops: true });
  mesh.wasInForce(kept);
  await eventually(() => expect(mesh.inForce()).toBe(true));
  expect(mesh.access().grants[0]!.who[0]!.user).toBe(first);
  cluster.listed = compiled.eve;
  cluster.changed();
  await eventually(() => expect(mesh.access().grants[0]!.who[0]!.user).toBe('eve'));
  expect(mesh.problems()).toEqual([]);
});
