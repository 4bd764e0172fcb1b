/**
 * Parses IP addresses and ranges into numbers. The syntax follows Go's net/netip, without zones or leading zeros. IPv4
 * and IPv6 share one number space, with IPv6 after IPv4, because Envoy never confuses the two.
 */

import { isIP } from 'node:net';

export interface Range {
  readonly first: bigint;
  readonly last: bigint;
}

/** The number that represents the IPv6 address `::`. */
export const IPV6 = 1n << 32n;

/**
 * Parses an address or a CIDR range, such as `10.0.0.0/8`, `10.1.2.3` or `2001:db8::/32`. Returns undefined if the
 * string is neither.
 */
export function parseCidr(text: string): Range | undefined {
  const [address = '', length, ...rest] = text.split('/');
  const number = parseAddress(address);
  if (number === undefined || rest.length > 0) return undefined;
  if (length !== undefined && !/^(?:0|[1-9][0-9]{0,2})$/.test(length)) return undefined;
  const [bits, start] = number < IPV6 ? [32, 0n] : [128, IPV6];
  const prefix = length === undefined ? bits : Number(length);
  if (prefix > bits) return undefined;
  const size = 1n << BigInt(bits - prefix);
  const first = ((number - start) / size) * size + start;
  return { first, last: first + size - 1n };
}

/** Parses an IPv4 or IPv6 address. Returns undefined if the string is not a valid address. */
export function parseAddress(text: string): bigint | undefined {
  const version = text.includes('%') ? 0 : isIP(text);
  if (version === 0) return undefined;
  if (version === 4) return text.split('.').reduce((value, part) => (value << 8n) | BigInt(part), 0n);
  // A trailing IPv4 address fills two groups, and `::` fills all the missing ones.
  const plain = text.replace(/[\d.]+\.[\d.]+$/, (embedded) => {
    const value = parseAddress(embedded)!;
    return `${(value >> 16n).toString(16)}:${(value & 0xffffn).toString(16)}`;
  });
  const [head = [], tail = []] = plain.split('::').map((half) => half.split(':').filter((group) => group !== ''));
  const groups = [...head, ...Array<string>(8 - head.length - tail.length).fill('0'), ...tail];
  return groups.reduce((value, group) => (value << 16n) | BigInt(`0x${group}`), 0n) + IPV6;
}
