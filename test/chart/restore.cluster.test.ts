/**
 * docs/install/backup.md on a real cluster: each disaster happens to an installation that is in use, and the commands of the page, and they
 * alone, bring it back. Each test checks what prevents a revoked session from coming back.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { pageUrl } from '@meshpass/identity';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { type Operator, operatorOf } from '../install/operator.ts';
import { differs, type Step } from '../install/page.ts';
import { readSections } from '../install/sections.ts';
import { type Traffic, watchTraffic } from '../install/traffic.ts';
import { type Developer, developerOf } from './developer.ts';
import { ACCESS, type ClusterWithImage, clusterWithImage, IN, removeInstallation, SOON } from './on-cluster.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const PAGE = readSections(readFileSync(join(ROOT, 'docs/install/backup.md'), 'utf8'));
/** Names that the page uses for them. */
const HERE = [
  ['example.com', 'meshpass.test'],
  ['-n postgres ', '-n chart-database '],
] as const;

let on: ClusterWithImage;
let operator: Operator;
let developer: Developer;
let traffic: Traffic;
/** Closed by an operator after the backup: it has the first for live, and does not know the other. */
const closed: Status[] = [];

beforeAll(async () => {
  on = await clusterWithImage();
  await on.prepareNamespace();
  await on.install();
  developer = await developerOf(on.cluster);
  operator = await operatorOf(on.cluster, {});
  operator.write('values.yaml', await on.helm(undefined, 'get', 'values', 'meshpass', ...IN, '-o', 'yaml'));
  operator.write('access.yaml', ACCESS);
  traffic = await watchTraffic(on.cluster);
});
afterAll(async () => {
  await traffic?.stop();
  await developer?.close();
  await operator?.close();
  await on?.remove();
});

async function run(steps: readonly Step[]): Promise<void> {
  for (const step of steps) {
    if (step.kind !== 'command') throw new Error(`line ${step.line}: only commands are followed`);
    if (step.place === 'beside') {
      await operator.beside(here(step.script));
      continue;
    }
    const printed = await operator.run(here(step.script));
    if (process.env.MESHPASS_INSTALL_PRINTS) console.log(`${step.script}${printed}`);
    if (step.script.includes('create namespace meshpass-system')) await trustTheLab();
    if (step.prints !== undefined)
      expect(differs(here(step.prints), printed), `line ${step.line} of the page`).toBeUndefined();
  }
}
const section = (title: string): readonly Step[] => {
  const steps = PAGE.get(title);
  if (!steps || steps.length === 0) throw new Error(`the page has no steps under ${title}`);
  return steps;
};
/** The first commands, the declaration that the text names, and what is done after. */
async function follow(title: string): Promise<void> {
  const began = performance.now();
  const [first, ...others] = section(title);
  await run([first!, ...section('Declare a restore'), ...others]);
  console.log(`${title}: ${Math.round((performance.now() - began) / 1000)} s`);
}
function here(text: string): string {
  return HERE.reduce((all, [page, lab]) => all.replaceAll(page, lab), text);
}
/** The ConfigMap that the values name, which the page says to keep. */
const trustTheLab = () => on.kubectl(...IN, 'create', 'configmap', 'lab-ca', `--from-file=ca.crt=${on.cluster.testCa}`);

interface Status {
  readonly session: { readonly id: string };
  readonly credentials: { readonly svids: readonly { readonly spiffeId: string }[] };
}
const status = async (): Promise<Status> => JSON.parse((await developer.meshpass('status', '--output', 'json')).said);
const answered = async () => expect(await developer.call()).toMatch(/^200 /);
/** Waits until the agent has another session than this one, and it is in use. */
const anotherSession = (than: Status) =>
  vi.waitFor(async () => {
    const now = await status();
    expect(now.session.id).not.toBe(than.session.id);
    await answered();
    return now;
  }, SOON);
/** Signs in as the page does, at the active broker. */
const asOperator = async (command: string) => {
  await run(section('Sign in'));
  return await operator.run(`meshpass ${command}`);
};
const closeAll = () => asOperator("sessions close --all --yes --reason 'left the team'");
const denied = async () =>
  on.kubectl(
    'get',
    'authorizationpolicies',
    '-n',
    'istio-system',
    '-l',
    'app.kubernetes.io/managed-by=meshpass',
    '-o',
    'yaml',
  );
/** The mesh denies their certificates, and the broker has one session, which is none of them. */
async function expectOver(...sessions: readonly Status[]): Promise<void> {
  await vi.waitFor(async () => {
    const policies = await denied();
    for (const { credentials } of sessions)
      expect(policies).toContain(credentials.svids[0]!.spiffeId.slice('spiffe://'.length));
    const { session } = await status();
    const listed = JSON.parse(await asOperator('sessions list --output json'));
    expect(listed.sessions.map(({ id }: { id: string }) => id)).toEqual([session.id]);
    expect(sessions.map((one) => one.session.id)).not.toContain(session.id);
  }, SOON);
}
/** Log of a container, including one that has ended. */
const logs = async () =>
  (await on.cluster.kubectl([...IN, 'logs', '-l', 'app.kubernetes.io/component=broker', '--tail=100'])).stdout;
const deleteKeysAndPods = async () => {
  await on.kubectl(...IN, 'delete', 'secret', 'meshpass-keys');
  await on.kubectl(...IN, 'delete', 'pod', '-l', 'app.kubernetes.io/component=broker', '--wait=false');
};

/** Follows the page while the Codespace calls. @returns how many calls, and for how long none was answered, if any was not */
async function outage(work: () => Promise<unknown>): Promise<{ readonly calls: number; readonly failed: number }> {
  const before = await status();
  const began = Date.now();
  const { calls, failed } = await developer.during(async () => {
    await work();
    await anotherSession(before);
  });
  const times = failed.map((line) => Date.parse(line.split(' ')[0]!));
  const seconds = times.length === 0 ? 0 : (times.at(-1)! - times[0]!) / 1000;
  const since = times.length === 0 ? 0 : (times[0]! - began) / 1000;
  console.log(`${calls} calls, ${failed.length} failed within ${seconds} s, the first after ${since} s: ${failed[0]}`);
  return { calls, failed: failed.length };
}

it('backs up the needed state while all runs', async () => {
  const first = await status();
  await run([...section('Sign in'), ...section('Back up')]);
  // After the backup: one that it has for live is closed, and another one that it does not know.
  let before = first;
  for (let n = 0; n < 2; n++) {
    closed.push(before);
    await closeAll();
    before = await anotherSession(before);
  }
  await expectOver(...closed);
});

it('an old backup: no ended session returns, and agents enrol by themselves', async () => {
  const live = await status();
  await outage(() => follow('An old backup is restored'));
  await expectOver(...closed, live);
});

it('a lost database: brokers refuse an empty one, and explain what to do', async () => {
  await on.sql('DROP DATABASE meshpass WITH (FORCE)', 'postgres');
  await on.sql('CREATE DATABASE meshpass OWNER meshpass', 'postgres');
  await vi.waitFor(async () => {
    const said = await logs();
    expect(said).toContain('audit_log_behind');
    expect(said).toContain(pageUrl('docs/install/backup.md'));
  }, SOON);
  const live = await status();
  await outage(() => follow('The database is lost'));
  await expectOver(...closed, live);
});

it('lost keys and their backup: no call fails, and the session continues', async () => {
  const { session } = await status();
  const seen = await developer.during(async () => {
    await deleteKeysAndPods();
    await run(section('There is a backup of them'));
    await vi.waitFor(async () => expect(await on.active()).toMatch(/^meshpass-broker-\S+$/), SOON);
  });
  console.log(`${seen.calls} calls while the keys were away`);
  expect(seen.failed).toEqual([]);
  expect((await status()).session).toEqual(session);
});

it('lost keys without a backup: new ones once that was declared, and the former ones still verify their signatures', async () => {
  await deleteKeysAndPods();
  const live = await status();
  await outage(() => follow('There is no backup of them'));
  await expectOver(...closed, live);
});

it('a lost cluster: from the backup alone, without a change in the Codespace', async () => {
  const before = await status();
  await removeInstallation(on.cluster);
  await on.sql('DROP DATABASE meshpass WITH (FORCE)', 'postgres');
  await follow('The cluster is lost');
  await anotherSession(before);
  await expectOver(closed[0]!);
});

it('changed nothing for traffic between pods', async () => {
  expect(await traffic.stop()).toEqual({ calls: expect.any(Number), otherwise: [] });
});
