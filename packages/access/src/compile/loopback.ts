/** Loopback addresses of hosts in workspaces. They are the same in every workspace and as stable as possible. */
import { sha256Hex } from '@meshpass/identity/hash';
import { SERVICE_ADDRESSES, serviceAddress } from '@meshpass/identity/service-address';

/**
 * Assigns each host a distinct address in 127.64.0.0/10. It depends only on the host's name, unless an earlier host has
 * that address; then it is the next free one. So hosts that are added at the end move none, and hosts that are added in
 * between move another only if both hash to the same of four million addresses.
 * @param hosts full names, at most SERVICE_ADDRESSES
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

/**
 * Returns a host's preferred address index. 48 bits of the hash are far more than an address has, so all indexes are
 * equally likely.
 */
function preferred(host: string): number {
  return Number.parseInt(sha256Hex(host).slice(0, 12), 16) % SERVICE_ADDRESSES;
}
