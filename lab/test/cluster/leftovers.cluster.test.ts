/** A cluster leaves nothing when the program that started it is killed, at once and later. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { downCluster, findCluster } from '../../src/cluster/index.ts';
import { tracesOf } from './traces.ts';

const NAME = 'leftovers';
const HOLD = fileURLToPath(new URL('hold.ts', import.meta.url));

let before: readonly string[];
beforeAll(async () => {
  await downCluster(NAME);
  before = tracesOf(NAME);
});
const programs: ChildProcess[] = [];
afterAll(async () => {
  for (const program of programs) program.kill('SIGKILL');
  await downCluster(NAME);
});

/** Starts a program that uses the cluster, and waits until it has printed a line. */
async function holdUntil(line: RegExp): Promise<ChildProcess> {
  const child = spawn(process.execPath, [HOLD, NAME], { stdio: ['ignore', 'pipe', 'inherit'] });
  programs.push(child);
  for await (const said of createInterface({ input: child.stdout! })) if (line.test(said)) return child;
  throw new Error(`The program ended before it said ${line}`);
}

function killed(child: ChildProcess): Promise<unknown> {
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  return ended;
}

it('`down` removes a start that was killed half-way', async () => {
  await killed(await holdUntil(/^installing Istio/));
  expect(tracesOf(NAME).length).toBeGreaterThan(before.length);
  await expect(findCluster(NAME)).rejects.toMatchObject({ code: 'lab_not_running' });
  expect(await downCluster(NAME)).toBe(true);
  expect(tracesOf(NAME)).toEqual(before);
});

it('a start that was killed half way does not hinder the next one; and when its program is killed, the whole cluster goes by itself', async () => {
  await killed(await holdUntil(/^starting the node/));
  const holder = await holdUntil(/^held$/);
  const cluster = await findCluster(NAME);
  const pods = await cluster.kubectl(['get', 'pods', '-A', '--field-selector=status.phase=Running', '-o', 'name']);
  expect(pods.stdout).toMatch(/orders/);
  const during = tracesOf(NAME);
  for (const trace of [/^process: .*containerd-shim/, /^cgroup: /, /^namespace: /, /^process: .*envoy/])
    expect(during.some((line) => trace.test(line))).toBe(true);
  // Rules, links of pods and settings of the node are never the machine's.
  const machine = (lines: readonly string[]): string[] =>
    lines.filter((line) => /^(rule|link|setting|mount):/.test(line));
  expect(machine(during).filter((line) => !line.includes(`/run/netns/mpc-${NAME}-`))).toEqual(machine(before));
  await killed(holder);
  await expect.poll(() => tracesOf(NAME), { timeout: 120_000, interval: 500 }).toEqual(before);
  expect(await downCluster(NAME)).toBe(false);
});
