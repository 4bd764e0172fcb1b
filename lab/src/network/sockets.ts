/**
 * The kernel's own table of TCP sockets, which shows whether a process has closed one. A program that lost track of a connection does
 * not list it, the kernel does.
 */
import { readFileSync } from 'node:fs';

export interface KernelSocket {
  readonly localPort: number;
  readonly remotePort: number;
  readonly state: string;
}

/** include/net/tcp_states.h of Linux. */
const STATES: Readonly<Record<string, string>> = {
  '01': 'established',
  '02': 'syn-sent',
  '03': 'syn-received',
  '04': 'fin-wait-1',
  '05': 'fin-wait-2',
  '06': 'time-wait',
  '07': 'close',
  '08': 'close-wait',
  '09': 'last-ack',
  '0A': 'listen',
  '0B': 'closing',
  '0C': 'new-syn-received',
};
const TABLES = ['/proc/net/tcp', '/proc/net/tcp6'] as const;

/**
 * Connections of this network namespace in which a port takes part at their own end, and which a process still holds:
 * neither listening nor in TIME-WAIT.
 */
export function connectionsAt(port: number): KernelSocket[] {
  const table = TABLES.map((path) => readFileSync(path, 'utf8')).join('\n');
  return held(table).filter(({ localPort }) => localPort === port);
}

/**
 * Every connection that a process of a host of the lab holds.
 * @param exec of the lab
 */
export async function connectionsOn(
  exec: (host: string, argv: readonly string[]) => Promise<{ readonly stdout: string }>,
  host: string,
): Promise<KernelSocket[]> {
  const { stdout } = await exec(host, ['cat', ...TABLES]);
  return held(stdout);
}

function held(table: string): KernelSocket[] {
  return parseSockets(table).filter(({ state }) => state !== 'listen' && state !== 'time-wait');
}

/** @param table text of /proc/net/tcp or /proc/net/tcp6 (proc_net_tcp in Linux' documentation), or of both */
export function parseSockets(table: string): KernelSocket[] {
  const row = /^ *\d+: [0-9A-F]+:([0-9A-F]{4}) [0-9A-F]+:([0-9A-F]{4}) ([0-9A-F]{2}) /gm;
  return [...table.matchAll(row)].map(([, local = '', remote = '', state = '']) => ({
    localPort: Number.parseInt(local, 16),
    remotePort: Number.parseInt(remote, 16),
    state: STATES[state] ?? state,
  }));
}
