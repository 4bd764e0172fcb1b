/**
 * A dev container on a host of the lab, as devcontainers/cli starts one with Docker: a first process that traps SIGTERM, the entrypoints of
 * Features inserted into its script, Docker's capabilities and no more, and commands that run beside it as the remote user.
 */
import { copyFileSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { LabError } from '../error.ts';
import type { Hosts } from '../hosts.ts';
import { type RunResult, run } from '../run.ts';
import { inRoot, REMOTE_USER, ROOT_PATH } from './root.ts';

export interface Container {
  /** Runs a command as the remote user, with the environment that Codespaces give it. */
  exec(argv: readonly string[], env?: Readonly<Record<string, string>>): Promise<RunResult>;
  /** Stops it like `docker stop`: SIGTERM to the first process, SIGKILL after ten seconds; resolves when the container has ended. */
  stop(): Promise<void>;
  /** Processes in it, the first included. */
  processes(): readonly number[];
}

/** Docker's default (moby, oci/caps). */
const CAPABILITIES = [
  ...['chown', 'dac_override', 'fsetid', 'fowner', 'mknod', 'net_raw', 'setgid', 'setuid'],
  ...['setfcap', 'setpcap', 'net_bind_service', 'sys_chroot', 'kill', 'audit_write'],
];
const BOUNDED = ['setpriv', `--bounding-set=-all,+${CAPABILITIES.join(',+')}`, '--inh-caps=-all'];
const WAIT = 20_000;
const DOCKER_STOP_MS = 10_000;

/**
 * @param root file system of the image; the container writes into it
 * @param entrypoint of the Feature, or empty
 */
export async function startContainer(
  ground: Pick<Hosts, 'hosts' | 'spawn'>,
  host: string,
  root: string,
  entrypoint: string,
): Promise<Container> {
  // Docker rewrites them at each start; they belong to root.
  const names = join('/etc/netns', ground.hosts[host]!.netns);
  for (const file of readdirSync(names)) {
    rmSync(join(root, 'etc', file), { force: true });
    copyFileSync(join(names, file), join(root, 'etc', file));
  }
  const first = ['/usr/bin/env', '-i', `PATH=${ROOT_PATH}`, '/bin/sh', '-c', firstScript(entrypoint), '-'];
  const child = ground.spawn(host, inRoot(root, first, BOUNDED));
  let ended = false;
  let said = '';
  const exit = new Promise<void>((resolve) =>
    child.once('exit', () => {
      ended = true;
      resolve();
    }),
  );
  child.stdout?.on('data', (chunk: Buffer) => (said += chunk));
  child.stderr?.on('data', (chunk: Buffer) => (said += chunk));
  const pid = await waitFor(() => {
    if (ended) throw new LabError('lab_start', `The container ended: ${said}`);
    const first = said.includes('Container started') ? firstProcess(root) : undefined;
    return first && catchesTerm(first) ? first : undefined;
  });
  const user = [`--reuid=${REMOTE_USER.uid}`, `--regid=${REMOTE_USER.uid}`, '--clear-groups'];
  const enter = [
    'nsenter',
    `--target=${pid}`,
    '--mount',
    '--pid',
    '--net',
    '--root',
    '--wd',
    '--',
    ...BOUNDED,
    ...user,
  ];
  return {
    exec: (argv, env = {}) => {
      const all = { PATH: ROOT_PATH, HOME: REMOTE_USER.home, USER: REMOTE_USER.name, ...env };
      const words = Object.entries(all).map(([name, value]) => `${name}=${value}`);
      return run([...enter, '/usr/bin/env', '-i', ...words, ...argv]);
    },
    stop: async () => {
      if (ended) return;
      process.kill(pid, 'SIGTERM');
      const late = setTimeout(() => process.kill(pid, 'SIGKILL'), DOCKER_STOP_MS);
      await exit.finally(() => clearTimeout(late));
    },
    processes: () => processesIn(root),
  };
}

/** devcontainers/cli, spec-node/singleContainer.ts, in our words. */
function firstScript(entrypoint: string): string {
  return [
    'echo Container started',
    'trap "exit 0" 15',
    entrypoint,
    'exec "$@"',
    'while sleep 1 & wait $!; do :; done',
  ].join('\n');
}

function processesIn(root: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^[0-9]+$/.test(name))
    .map(Number)
    .filter((pid) => rootOf(pid) === root);
}

function rootOf(pid: number): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/root`);
  } catch {
    return undefined;
  }
}

/** Process id on the host; in the container it is 1. */
function firstProcess(root: string): number | undefined {
  return processesIn(root).find((pid) => {
    try {
      return /^NSpid:.*\t1$/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
    } catch {
      return false;
    }
  });
}

/**
 * The kernel drops a signal that process 1 of a container has no handler for: the trap has to be there before the container counts as
 * started (pid_namespaces(7), proc_pid_status(5)).
 */
function catchesTerm(pid: number): boolean {
  const caught = /^SigCgt:\t([0-9a-f]+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? '0';
  return (BigInt(`0x${caught}`) & (1n << 14n)) !== 0n;
}

async function waitFor<T>(look: () => T | undefined): Promise<T> {
  const end = Date.now() + WAIT;
  for (;;) {
    const seen = look();
    if (seen !== undefined) return seen;
    if (Date.now() > end) throw new LabError('lab_start', 'The container did not start.');
    await sleep(2);
  }
}
