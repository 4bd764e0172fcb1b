/** Which ports Envoy may listen on: it has the rights of the agent's user, and on Linux those below a number need another one. */
import { readFileSync } from 'node:fs';

const FIRST_OF_ALL = 1024;
/** Bit of CAP_NET_BIND_SERVICE (capabilities(7)). */
const BIND_SERVICE = 10n;

/** Whether this process, and what it starts, may listen on a port of the loopback. True where nothing tells. */
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
    const [, effective] = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'latin1')) ?? [];
    if (effective !== undefined) return ((BigInt(`0x${effective}`) >> BIND_SERVICE) & 1n) === 1n;
  } catch {
    // Not Linux: root may.
  }
  return process.getuid?.() === 0;
}
