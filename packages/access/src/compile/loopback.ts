/** Under which loopback address workspaces reach each host: the same in every workspace, and as lasting as can be. */
import { sha256Hex } from '@meshpass/identity/hash';
import { SERVICE_ADDRESSES, serviceAddress } from '@meshpass/identity/service-address';

/**
 * An address in 127.64.0.0/10 for each host, no two alike. It follows from the host's name alone, unless a host before it has that
 * address already; then the next free one is taken. So hosts that are added at the end move nobody, and those that are added in
 * between move a host only where both hash to one of four million addresses.
 * @param hosts full names; at most SERVICE_ADDRESSES
 * @example
 * ```ts
 * import { loopbackAddresses } from '@meshpass/access/compile';
 * const orders = 'orders.shop.svc.cluster.local';
 * loopbackAddresses([orders]).get(orders); // => '127.102.178.226'
 * ```
 */
export function loopbackAddresses(hosts: Iterable<string>): ReadonlyMap<string, string> {
  const indexes = new Map<string, number>();
  const taken = new Set<number>();
  for (const host of hosts) {
    if (indexes.has(host)) continue;
    let index = preferred(host);
    while (taken.has(index)) index = (index + 1) % SERVICE_ADDRESSES;
    taken.add(index);
    indexes.set(host, index);
  }
  return new Map([...indexes].map(([host, index]) => [host, serviceAddress(index)]));
}

/** 48 bits of the hash: more than an address has, so that each is as likely as any other. */
function preferred(host: string): number {
  return Number.parseInt(sha256Hex(host).slice(0, 12), 16) % SERVICE_ADDRESSES;
}
