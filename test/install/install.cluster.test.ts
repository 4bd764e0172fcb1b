/**
 * docs/install/README.md, followed to the letter on a real cluster: each of its files is written, each of its commands runs in its place, and
 * prints what the page says. operator.ts has all that is added.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Cluster, upCluster } from '@meshpass/lab/cluster';
import { must } from '@meshpass/lab/run';
import { standIns } from '@meshpass/lab/stand-ins';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { removeInstallation } from '../chart/on-cluster.ts';
import { type Codespace, codespaceOf } from './codespace.ts';
import { type Operator, operatorOf } from './operator.ts';
import { differs, readPage, type Step } from './page.ts';
import { type Traffic, watchTraffic } from './traffic.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
/** The test takes the other way of the page's last section: what is built here stands for what would be published. */
const SKIPPED = ['a registry of your own'];
const PAGE = readPage(readFileSync(join(ROOT, 'docs/install/README.md'), 'utf8')).filter(
  (step) => step.kind !== 'skipped' || !SKIPPED.includes(step.reason),
);
const DEVCONTAINER = '.devcontainer/devcontainer.json';
/** Minutes that the page's commands may take, images and builds not counted. */
const MINUTES = 15;
const OWN_COMMANDS = 5;

let cluster: Cluster;
let operator: Operator;
let traffic: Traffic;
let codespace: Codespace | undefined;
let took = 0;

beforeAll(async () => {
  await must(['npm', 'run', '--silent', 'build:image'], 'lab_install', { cwd: ROOT });
  cluster = await upCluster();
  await cluster.load(join(ROOT, `dist/image/meshpass-linux-${process.arch}.oci.tar`));
  await standIns(cluster).github.reset();
  operator = await operatorOf(cluster);
  traffic = await watchTraffic(cluster);
});
afterAll(async () => {
  await codespace?.close();
  await traffic?.stop();
  operator?.close();
  if (!cluster) return;
  await removeInstallation(cluster);
  await standIns(cluster).github.reset();
  await cluster.down();
});

describe('the install page', () => {
  it.each(PAGE.map((step) => [nameOf(step), step] as const))('%s', async (_, step) => {
    if (step.kind === 'skipped') throw new Error(`this may not be skipped: ${step.reason}`);
    if (step.kind === 'file') return void (await written(step));
    const began = performance.now();
    const printed = await runIn(step);
    took += performance.now() - began;
    if (process.env.MESHPASS_INSTALL_PRINTS) console.log(`${step.script}${printed}`);
    if (step.script.includes('create namespace meshpass-system')) await trustTheLab();
    if (step.prints !== undefined) expect(differs(step.prints, printed)).toBeUndefined();
  });

  it(`takes at most ${MINUTES} minutes and ${OWN_COMMANDS} commands of Meshpass`, () => {
    const scripts = PAGE.flatMap((step) => (step.kind === 'command' ? step.script.split('\n') : []));
    const own = scripts.filter((line) => /^(?:meshpass|helm (?:install|upgrade)) /.test(line));
    console.log(`the page's commands took ${(took / 60_000).toFixed(1)} minutes, ${own.length} of them are Meshpass's`);
    expect(own.length).toBeLessThanOrEqual(OWN_COMMANDS);
    expect(took).toBeLessThan(MINUTES * 60_000);
  });

  it('changes nothing for traffic that was in the mesh before', async () => {
    expect(await traffic.stop()).toEqual({ calls: expect.any(Number), otherwise: [] });
  });
});

/** GitHub's own command stops the Codespace, as closing it does after a while. */
async function runIn({ place, script }: Extract<Step, { kind: 'command' }>): Promise<string> {
  if (place === 'codespace') return await codespace!.run(script);
  if (!script.startsWith('gh codespace stop')) return await operator.run(script);
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
