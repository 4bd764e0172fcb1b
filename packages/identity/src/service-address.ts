/** The loopback addresses in 127.64.0.0/10 that workspaces use to reach services in the mesh. */

const ADDRESS =
  /^127\.(6[4-9]|[7-9][0-9]|1[01][0-9]|12[0-7])\.(0|[1-9][0-9]?|1[0-9]{2}|2[0-4][0-9]|25[0-5])\.([1-9][0-9]?|1[0-9]{2}|2[0-4][0-9]|25[0-4])$/;

/** The number of service addresses. There are 254 of them (ending in 1 to 254) in each of 64 * 256 networks. */
export const SERVICE_ADDRESSES = 64 * 256 * 254;

/**
 * Whether a string is a service address in canonical form. Addresses that end in 0 or 255 are excluded, because some
 * programs treat them as network addresses.
 */
export function isServiceAddress(text: string): boolean {
  return ADDRESS.test(text);
}

/**
 * Returns the service address with a given index.
 * @param index a number from 0 to `SERVICE_ADDRESSES - 1`. Larger numbers wrap around
 * @example
 * ```ts
 * import { serviceAddress } from '@meshpass/identity';
 * serviceAddress(0); // => '127.64.0.1'
 * serviceAddress(254); // => '127.64.1.1'
 * ```
 */
export function serviceAddress(index: number): string {
  const network = Math.floor((index % SERVICE_ADDRESSES) / 254);
  return `127.${64 + Math.floor(network / 256)}.${network % 256}.${1 + (index % 254)}`;
}
