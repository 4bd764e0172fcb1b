/**
 * Determines which ports Envoy may listen on. Envoy runs with the privileges of the agent's user, and Linux requires an
 * additional privilege for low ports.
 */
import { readFileSync } from 'node:fs';

const FIRST_OF_ALL = 1024;
/** The bit number of CAP_NET_BIND_SERVICE (see capabilities(7)). */
const BIND_SERVICE = 10n;

/** Returns whether a child of this process may listen on a loopback port. */
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
    return inheritsCapability(readFileSync('/proc/self/status', 'latin1'), isRoot());
  } catch {
    return isRoot(); // the system is not Linux
  }
}

function isRoot(): boolean {
  return process.getuid?.() === 0;
}

/**
 * Returns whether a child process has CAP_NET_BIND_SERVICE. If this process runs as root, its children inherit root's
 * capabilities. For any other user, only the ambient capabilities count, because file capabilities (setcap) are not
 * inherited.
 * @param status the status of this process (see proc_pid_status(5))
 */
export function inheritsCapability(status: string, byRoot: boolean): boolean {
  const [, set] = (byRoot ? /^CapEff:\s*([0-9a-f]+)$/m : /^CapAmb:\s*([0-9a-f]+)$/m).exec(status) ?? [];
  return set === undefined ? byRoot : ((BigInt(`0x${set}`) >> BIND_SERVICE) & 1n) === 1n;
}
