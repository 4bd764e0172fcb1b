/** docs/install/trial.md, followed to the letter on a real cluster, which is afterwards as it was. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Cluster, upCluster } from '@meshpass/lab/cluster';
import { must } from '@meshpass/lab/run';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { differences, everything, type Snapshot } from '../../install/everything.ts';
import { type Operator, operatorOf } from '../../install/operator.ts';
import { type CommandStep, differs, readPage } from '../../install/page.ts';
import { CHART } from '../helm.ts';
import { IN, removeInstallation, SOON } from '../on-cluster.ts';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const STEPS = readPage(readFileSync(join(ROOT, 'docs/install/trial.md'), 'utf8'));

let cluster: Cluster;
let operator: Operator;
let before: Snapshot;

beforeAll(async () => {
  await must(['npm', 'run', '--silent', 'build:trial-image'], 'lab_install', { cwd: ROOT });
  cluster = await upCluster();
  await cluster.load(join(ROOT, `dist/image/meshpass-insecure-trial-linux-${process.arch}.oci.tar`));
  before = await everything(kubectl);
  operator = await operatorOf(cluster, {});
});
afterAll(async () => {
  await operator?.close();
  if (!cluster) return;
  await removeInstallation(cluster);
  await cluster.down();
});

const named = STEPS.flatMap((step) => (step.kind === 'command' ? [[step.script.split('\n')[0]!, step] as const] : []));
const uninstall = named.findIndex(([name]) => name.startsWith('helm uninstall'));

it.each(named.slice(0, uninstall))('%s', (_, step) => follow(step));

it('a Pod that replaces the one of the trial makes the calls again', async () => {
  await kubectl(...IN, 'delete', 'pods', '-l', 'app.kubernetes.io/component=trial');
  await kubectl(...IN, 'rollout', 'status', 'deployment/meshpass-insecure-trial', '--timeout=120s');
});

it('has its stand-ins in no program of production', () => {
  const program = readFileSync(join(ROOT, `dist/meshpass-linux-${process.arch}/meshpass`));
  expect(program.includes('meshpass-lab-github-stand-in')).toBe(false);
});

it.each(named.slice(uninstall))('%s', (_, step) => follow(step));

it('leaves every object of the cluster as it was', async () => {
  await vi.waitFor(async () => expect(differences(before, await everything(kubectl))).toEqual([]), SOON);
});

async function follow({ script, prints }: CommandStep): Promise<void> {
  const printed = await operator.run(script.replace('deploy/helm/meshpass', CHART));
  if (process.env.MESHPASS_INSTALL_PRINTS) console.log(`${script}${printed}`);
  if (prints !== undefined) expect(differs(prints, printed)).toBeUndefined();
}

async function kubectl(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await cluster.kubectl(args);
  if (code !== 0) throw new Error(`kubectl ${args.join(' ')}: ${stderr}`);
  return stdout;
}
