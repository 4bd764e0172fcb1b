/** Orders of events that a real cluster seldom gives: the cluster is played, everything else is as it is. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseAccess } from '@meshpass/access';
import { MeshpassError } from '@meshpass/identity';
import { expect, it, vi } from 'vitest';
import { orders, playCluster } from './played-cluster.ts';

const file = (user: string) => `trust: {codespaces: {organization: acme}}
grants:
  dev:
    who: [{user: ${user}}]
    to: [{service: orders, namespace_labels: {team: payments}, port: 80}]
`;

const eventually = (check: () => void) => vi.waitFor(check, { timeout: 15_000, interval: 20 });

it('a file that asks for what is being applied already comes into force', async () => {
  const { cluster, path, start } = playCluster();
  writeFileSync(path, file('ann'));
  const mesh = start();
  await eventually(() => expect(mesh.inForce()).toBe(true));

  // Somebody changed a policy of ours: it is being written again, for the file in force, ...
  const open = cluster.hold();
  const before = cluster.applying;
  cluster.ours = ['meshpass-guard-dev@2'];
  cluster.changed();
  await eventually(() => expect(cluster.applying).toBeGreaterThan(before));
  // ... when a file comes that differs only in who, and so asks for the same objects.
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
  expect(mesh.problems()).toEqual([expect.stringMatching(/^access\.yaml:5:10 orders\.shop:80 declares no protocol/)]);
  expect(mesh.unready()).toEqual([]);
  cluster.services = [orders];
  cluster.changed();
  await eventually(() => expect(mesh.services(['dev'])).toHaveLength(1));
  expect(mesh.problems()).toEqual([]);
});

it('an included file that changes is read, also where only it does', async () => {
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

it('a file that was given and is refused leaves the one on disk in charge: what changes there comes into force', async () => {
  const { cluster, path, start } = playCluster();
  writeFileSync(path, file('ann'));
  const mesh = start();
  await eventually(() => expect(mesh.inForce()).toBe(true));
  cluster.refusal = new MeshpassError('kubernetes_unavailable', 'No.', { detail: { status: 422, message: 'denied' } });
  const wider = file('eve').replace('port: 80', 'port: http');
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

it('a file that comes while Kubernetes refuses the one before comes into force, and nothing more is said of that one', async () => {
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

it('from the first file on that was given and came into force, the one on disk is ignored', async () => {
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

it('says that the file on disk was changed and is ignored, also after a restart, and that it is not where it says the same', async () => {
  const { path, start, warnings } = playCluster();
  writeFileSync(path, file('ann'));
  const mesh = start();
  let digest: string | undefined;
  mesh.onDecision((decision) => {
    digest ??= decision.digest;
  });
  await eventually(() => expect(digest).toMatch(/^[0-9a-f]{64}$/));
  await mesh.take(parseAccess(file('eve'), 'given.yaml'));
  await mesh.reload();
  expect(mesh.problems(), 'the file of before, which nobody touched').toEqual([]);
  const ignored = expect.stringMatching(/^the access file on disk was changed, and is ignored.*meshpass policy apply/);
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
  next.wasInForce(digest!);
  await eventually(() => expect(next.inForce()).toBe(true));
  expect(next.problems()).toEqual([ignored]);
});

it('a broker that stands by says why its access file could not come into force, for as long as it could not', async () => {
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

it('of the file that was in force before a restart, what is gone is left out; a new file is refused for it', async () => {
  const { cluster, path, start } = playCluster();
  cluster.services = [orders, { ...orders, name: 'ledger' }];
  writeFileSync(path, two);
  const before = start();
  let digest: string | undefined;
  before.onDecision((decision) => {
    digest = decision.digest;
  });
  await eventually(() => expect(digest).toMatch(/^[0-9a-f]{64}$/));
  before.close();

  cluster.services = [orders];
  const mesh = start();
  await eventually(() => expect(mesh.unready()[0]).toMatch(/ledger/));
  expect(mesh.inForce()).toBe(false);
  mesh.wasInForce(digest!);
  await eventually(() => expect(mesh.inForce()).toBe(true));
  expect(mesh.services(['dev'])).toMatchObject([{ host: 'orders.shop.svc.cluster.local' }]);
  expect([mesh.unready(), mesh.fileProblem()]).toEqual([[], undefined]);
  expect(mesh.problems()).toEqual([expect.stringMatching(/ledger/)]);
  mesh.close();

  writeFileSync(path, `${two}# another file\n`);
  const other = start();
  other.wasInForce(digest!);
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
