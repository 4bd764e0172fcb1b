/**
 * docs/install/README.md and removal.md, followed to the letter on a real cluster: each of their files is written, each of their commands runs
 * in its place, and prints what the page says. operator.ts has all that is added.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Cluster, upCluster } from '@meshpass/lab/cluster';
import { must } from '@meshpass/lab/run';
import { standIns } from '@meshpass/lab/stand-ins';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { removeInstallation, SOON } from '../chart/on-cluster.ts';
import { type Codespace, codespaceOf } from './codespace.ts';
import { differences, everything, type Snapshot } from './everything.ts';
import { type Operator, operatorOf } from './operator.ts';
import { differs, readPage, type Step } from './page.ts';
import { type Traffic, watchTraffic } from './traffic.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
/** The command is built, and the image is loaded into the cluster without a registry. */
const SKIPPED = ['a registry of your own'];
const PAGE = stepsOf('README.md');
const REMOVAL = stepsOf('removal.md');
const DEVCONTAINER = '.devcontainer/devcontainer.json';
/** Minutes that the page's commands may take, images and builds not counted. */
const MINUTES = 15;
/** Time until Meshpass answers the first call. */
const OWN_COMMANDS = 5;
const FIRST_CALL = /^curl .*orders\.shop/m;
/** A command of Meshpass, wherever it runs. */
const OWN = /^meshpass |^helm (?:install|upgrade|uninstall) /;

let cluster: Cluster;
let operator: Operator;
let traffic: Traffic;
let codespace: Codespace | undefined;
let took = 0;
let before: Snapshot;

beforeAll(async () => {
  await must(['npm', 'run', '--silent', 'build:image'], 'lab_install', { cwd: ROOT });
  cluster = await upCluster();
  await cluster.load(join(ROOT, `dist/image/meshpass-linux-${process.arch}.oci.tar`));
  await standIns(cluster).github.reset();
  before = await everything(kubectl);
  operator = await operatorOf(cluster);
  traffic = await watchTraffic(cluster);
});
afterAll(async () => {
  await codespace?.close();
  await traffic?.stop();
  await operator?.close();
  if (!cluster) return;
  await removeInstallation(cluster);
  await standIns(cluster).github.reset();
  await cluster.down();
});

describe('the install page', () => {
  it.each(PAGE.map((step) => [nameOf(step), step] as const))('%s', (_, step) => follow(step));

  it(`takes at most ${MINUTES} minutes, and ${OWN_COMMANDS} commands of Meshpass until the first answer`, () => {
    const commands = PAGE.flatMap((step) => (step.kind === 'command' ? [step] : []));
    const firstCall = commands.findIndex(({ place, script }) => place === 'codespace' && FIRST_CALL.test(script));
    const own = (steps: typeof commands) =>
      steps.flatMap(({ script }) => script.split('\n')).filter((line) => OWN.test(line)).length;
    const [untilThen, all] = [own(commands.slice(0, firstCall)), own(commands)];
    console.log(
      `the page's commands took ${(took / 60_000).toFixed(1)} minutes; ${untilThen} of Meshpass until the first answer, ${all} on the whole page`,
    );
    expect(firstCall).toBeGreaterThan(0);
    expect(untilThen).toBeLessThanOrEqual(OWN_COMMANDS);
    expect(took).toBeLessThan(MINUTES * 60_000);
  });
});

describe('the removal', () => {
  it.each(REMOVAL.map((step) => [nameOf(step), step] as const))('%s', (_, step) => follow(step));

  it('leaves every object of the cluster as it was', async () => {
    // The cloud takes the disk away after its claim.
    await vi.waitFor(async () => expect(differences(before, await everything(kubectl))).toEqual([]), SOON);
  });

  it('and the installation before it change nothing for traffic that was in the mesh', async () => {
    const seen = await traffic.stop();
    console.log(`${seen.calls} calls between pods from before the installation until after the removal`);
    expect(seen).toEqual({ calls: expect.any(Number), otherwise: [] });
  });
});

function stepsOf(name: string): readonly Step[] {
  return readPage(readFileSync(join(ROOT, 'docs/install', name), 'utf8')).filter(
    (step) => step.kind !== 'skipped' || !SKIPPED.includes(step.reason),
  );
}

async function kubectl(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await cluster.kubectl(args);
  if (code !== 0) throw new Error(`kubectl ${args.join(' ')}: ${stderr}`);
  return stdout;
}

async function follow(step: Step): Promise<void> {
  if (step.kind === 'skipped') throw new Error(`this may not be skipped: ${step.reason}`);
  if (step.kind === 'file') return await written(step);
  const began = performance.now();
  const printed = await runIn(step);
  took += performance.now() - began;
  if (process.env.MESHPASS_INSTALL_PRINTS) console.log(`${step.script}${printed}`);
  if (step.script.includes('create namespace meshpass-system')) await trustTheLab();
  if (step.prints !== undefined) expect(differs(step.prints, printed)).toBeUndefined();
}

/** GitHub's own command stops the Codespace, as closing it does after a while. */
async function runIn({ place, script, exit }: Extract<Step, { kind: 'command' }>): Promise<string> {
  if (place === 'codespace') return await codespace!.run(script);
  if (place === 'beside') {
    await operator.beside(script);
    return '';
  }
  if (!script.startsWith('gh codespace stop')) return await operator.run(script, exit);
  await codespace!.stop();
  return '';
}

/** The page's devcontainer.json makes the Codespace. */
async function written({ name, text }: Extract<Step, { kind: 'file' }>): Promise<void> {
  operator.write(name, text);
  if (name !== DEVCONTAINER) return;
  const { features } = JSON.parse(text) as { features: Record<string, Record<string, string>> };
  const [options] = Object.values(features);
  codespace = await codespaceOf(cluster, options!);
  const began = performance.now();
  await codespace.start();
  took += performance.now() - began;
}

/** The lab's values name it: a cloud's pods trust the authorities of the internet already. */
async function trustTheLab(): Promise<void> {
  const args = ['create', 'configmap', 'lab-ca', '-n', 'meshpass-system', `--from-file=ca.crt=${cluster.testCa}`];
  expect(await cluster.kubectl(args)).toMatchObject({ code: 0 });
}

function nameOf(step: Step): string {
  if (step.kind === 'file') return `line ${step.line}: ${step.name}`;
  return `line ${step.line}: ${step.script.trim().split('\n')[0]}`;
}
