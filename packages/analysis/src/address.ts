/**
 * Represents IP addresses and ranges as numbers, in the syntax of Go's net/netip (no zones, no leading zeros). IPv6
 * addresses follow the IPv4 addresses in one number space, because Envoy never treats one address family as the other.
 */

import { isIP } from 'node:net';

export interface Range {
  readonly first: bigint;
  readonly last: bigint;
}

/** Number that represents the IPv6 address `::`. */
export const IPV6 = 1n << 32n;

/** Parses `10.0.0.0/8`, `10.1.2.3` or `2001:db8::/32`. Returns undefined for any other string. */
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

/** Parses an IPv4 or IPv6 address. Returns undefined if the string is not an address. */
export function parseAddress(text: string): bigint | undefined {
  const version = text.includes('%') ? 0 : isIP(text);
  if (version === 0) return undefined;
  if (version === 4) return text.split('.').reduce((value, part) => (value << 8n) | BigInt(part), 0n);
  // A trailing IPv4 address counts as two groups, and `::` as all missing groups.
  const plain = text.replace(/[\d.]+\.[\d.]+$/, (embedded) => {
    const value = parseAddress(embedded)!;
    return `${(value >> 16n).toString(16)}:${(value & 0xffffn).toString(16)}`;
  });
  const [head = [], tail = []] = plain.split('::').map((half) => half.split(':').filter((group) => group !== ''));
  const groups = [...head, ...Array<string>(8 - head.length - tail.length).fill('0'), ...tail];
  return groups.reduce((value, group) => (value << 16n) | BigInt(`0x${group}`), 0n) + IPV6;
}
