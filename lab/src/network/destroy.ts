/** Removes every trace of a lab's network in any state, and every process in it. */
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { run } from '../run.ts';

/** Time for a clean stop (PostgreSQL frees its shared memory), in milliseconds. */
const PATIENCE_MS = 2000;
const POLL_MS = 40;

/** Ends all processes of the lab's hosts, then removes the hosts and the links. */
export function destroyNetwork(name: string, subnet: number | undefined): Promise<void> {
  return destroyHosts(prefixOf(name), subnet === undefined ? undefined : `mp${subnet}`);
}

/**
 * Ends all processes of these hosts, then removes the hosts and the link.
 * @param prefix that the names of their network namespaces begin with
 * @param link of the root namespace to them
 */
export async function destroyHosts(prefix: string, link: string | undefined): Promise<void> {
  const netns = list('/run/netns', prefix);
  await endProcesses(netns);
  await Promise.all(netns.map((one) => run(['ip', 'netns', 'del', one])));
  for (const folder of list('/etc/netns', prefix)) rmSync(join('/etc/netns', folder), { recursive: true, force: true });
  if (link !== undefined) await run(['ip', 'link', 'del', link]);
}

/** The network namespaces of a lab, also of one that lost its records. */
export function namespacesOf(name: string): string[] {
  return list('/run/netns', prefixOf(name));
}

function prefixOf(name: string): string {
  return `mp-${name}-`;
}

/** Process ids in these namespaces. */
export async function processesIn(netns: readonly string[]): Promise<number[]> {
  const found = await Promise.all(netns.map((one) => run(['ip', 'netns', 'pids', one])));
  return found.flatMap(({ stdout }) => stdout.split('\n').filter(Boolean).map(Number));
}

async function endProcesses(netns: readonly string[]): Promise<void> {
  const signal = (pids: readonly number[], name: NodeJS.Signals): void => {
    for (const pid of pids) {
      try {
        process.kill(pid, name);
      } catch {
        // it ended by itself
      }
    }
  };
  let left = await processesIn(netns);
  signal(left, 'SIGTERM');
  for (let waited = 0; left.length > 0 && waited < PATIENCE_MS; waited += POLL_MS) {
    await sleep(POLL_MS);
    left = await processesIn(netns);
  }
  while (left.length > 0) {
    signal(left, 'SIGKILL');
    await sleep(POLL_MS);
    left = await processesIn(netns);
  }
}

/** Entries that begin with `prefix` in a folder that need not exist. */
export function list(folder: string, prefix: string): string[] {
  return existsSync(folder) ? readdirSync(folder).filter((entry) => entry.startsWith(prefix)) : [];
}
