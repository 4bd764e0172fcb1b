/**
 * IP addresses and ranges as numbers, in the syntax of Go's net/netip (no zones, no leading zeros). IPv6 follows IPv4
 * in one number space, because Envoy never treats one kind of address as the other.
 */

export interface Range {
  readonly first: bigint;
  readonly last: bigint;
}

/** Number of the IPv6 address `::`. */
export const IPV6 = 1n << 32n;

/** Parses `10.0.0.0/8`, `10.1.2.3` or `2001:db8::/32`. Returns undefined for any other string. */
export function readRange(text: string): Range | undefined {
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
  if (!text.includes(':')) return parseV4(text);
  const value = parseV6(text);
  return value === undefined ? undefined : IPV6 + value;
}

function parseV4(text: string): bigint | undefined {
  const parts = text.split('.');
  if (parts.length !== 4) return undefined;
  let value = 0n;
  for (const part of parts) {
    if (!/^(?:0|[1-9][0-9]{0,2})$/.test(part) || Number(part) > 255) return undefined;
    value = (value << 8n) | BigInt(part);
  }
  return value;
}

function parseV6(text: string): bigint | undefined {
  const plain = withoutDots(text);
  const halves = plain?.split('::') ?? [];
  if (halves.length === 0 || halves.length > 2) return undefined;
  const [head = [], tail] = halves.map((half) => (half === '' ? [] : half.split(':')));
  const missing = 8 - head.length - (tail?.length ?? 0);
  if (tail === undefined ? missing !== 0 : missing < 1) return undefined;
  let value = 0n;
  for (const group of [...head, ...Array<string>(missing).fill('0'), ...(tail ?? [])]) {
    if (!/^[0-9a-fA-F]{1,4}$/.test(group)) return undefined;
    value = (value << 16n) | BigInt(`0x${group}`);
  }
  return value;
}

/** Rewrites a trailing IPv4 address as two groups. Returns undefined if it is malformed. */
function withoutDots(text: string): string | undefined {
  const at = text.lastIndexOf(':') + 1;
  if (!text.includes('.', at)) return text;
  const embedded = parseV4(text.slice(at));
  if (embedded === undefined) return undefined;
  return `${text.slice(0, at)}${(embedded >> 16n).toString(16)}:${(embedded & 0xffffn).toString(16)}`;
}
