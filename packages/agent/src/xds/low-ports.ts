/** Which ports Envoy may listen on: it has the rights of the agent's user, and on Linux those below a number need another one. */
import { readFileSync } from 'node:fs';

const FIRST_OF_ALL = 1024;
/** Bit of CAP_NET_BIND_SERVICE (capabilities(7)). */
const BIND_SERVICE = 10n;

/** Whether what this process starts may listen on a port of the loopback. True where nothing tells. */
export function mayListenOn(port: number): boolean {
  return port >= FIRST_OF_ALL || port >= firstUnprivileged() || mayBindAll();
}

function firstUnprivileged(): number {
  try {
    return Number(readFileSync('/proc/sys/net/ipv4/ip_unprivileged_port_start', 'utf8'));
  } catch {
    return FIRST_OF_ALL;
  }
}

function mayBindAll(): boolean {
  try {
    return passesOn(readFileSync('/proc/self/status', 'latin1'), isRoot());
  } catch {
    return isRoot(); // not Linux
  }
}

function isRoot(): boolean {
  return process.getuid?.() === 0;
}

/**
 * Whether a program that is started has the right. Of root's it is what root has itself. Of another user's only the ambient
 * capabilities count: a right that its executable gave to this process (setcap) ends with it.
 * @param status of this process (proc_pid_status(5))
 */
export function passesOn(status: string, byRoot: boolean): boolean {
  const [, set] = (byRoot ? /^CapEff:\s*([0-9a-f]+)$/m : /^CapAmb:\s*([0-9a-f]+)$/m).exec(status) ?? [];
  return set === undefined ? byRoot : ((BigInt(`0x${set}`) >> BIND_SERVICE) & 1n) === 1n;
}
