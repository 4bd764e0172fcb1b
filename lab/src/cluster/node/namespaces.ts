/** The namespaces of a node, held by its first process: when that ends, the kernel ends all that runs in the node. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { LabError } from '../../error.ts';
import { type Unit, unitPid } from '../../unit.ts';
import { type ClusterPlan, INTERNET, NODE } from '../plan.ts';

const START = fileURLToPath(new URL('start.sh', import.meta.url));

/** `unshare` is the parent of the first process, and takes it along when it is killed. */
export function nodeUnit(dir: string, plan: ClusterPlan): Unit {
  const { netns } = plan.hosts.node;
  const unshare = ['unshare', '--pid', '--fork', '--kill-child', '--mount', '--uts', '--ipc', '--mount-proc', '--'];
  return {
    name: NODE,
    host: NODE,
    netns,
    // `ip netns exec` would put a /sys without control groups in front of the machine's.
    enter: ['nsenter', `--net=/run/netns/${netns}`, ...unshare],
    argv: ['sh', START, dir, NODE],
    env: environment(),
    cwd: '/',
    ready: { log: 'the node has its file systems' },
  };
}

/**
 * Command line that enters the node; it runs.
 * @param cwd folder to run in
 */
export function enterNode(dir: string, cwd: string): string[] {
  const parent = unitPid(dir, NODE);
  const children = parent === undefined ? '' : readFileSync(`/proc/${parent}/task/${parent}/children`, 'utf8').trim();
  if (children === '') throw new LabError('lab_start', 'The node does not run.');
  const enter = ['nsenter', '--target', children, '--net', '--mount', '--uts', '--ipc', '--pid', '--'];
  return [...enter, 'sh', '-c', 'cd "$0" && exec "$@"', cwd];
}

/** Files that the node's first process mounts over files of the machine. */
export function writeNodeFiles(dir: string): void {
  mkdirSync(nodePath(dir), { recursive: true });
  writeFileSync(nodePath(dir, 'resolv.conf'), `nameserver ${INTERNET.nameServer}\n`);
}

/** Environment of the node's own processes. Go programs collect garbage sooner than by default: several clusters share a machine. */
export function environment(): Record<string, string> {
  return { PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin`, HOME: '/root', LANG: 'C.UTF-8', GOGC: '50' };
}

/** Directory that replaces the node's disk. */
export function nodePath(dir: string, ...path: string[]): string {
  return join(dir, 'node', ...path);
}
