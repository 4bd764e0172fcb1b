/** The addresses of one field, sorted by which of some ranges hold them: one example for each combination. */
import { isIP } from 'node:net';

export interface Range {
  readonly first: bigint;
  readonly last: bigint;
}

export interface AddressClasses {
  readonly examples: readonly string[];
  readonly passing: (range: string) => readonly number[];
  readonly classOf: (address: string) => number;
}

/** IPv6 begins where IPv4 ends: Envoy never takes one for the other. */
const IPV6 = 1n << 32n;

/** `10.0.0.0/8`, `10.1.2.3`, `2001:db8::/32`; undefined for what is no range. */
export function readRange(text: string): Range | undefined {
  const [address = '', length, ...more] = text.split('/');
  const family = isIP(address);
  const bits = family === 4 ? 32 : 128;
  if (family === 0 || more.length > 0) return undefined;
  const prefix = length === undefined ? bits : Number(length);
  if (length === '' || !Number.isInteger(prefix) || prefix < 0 || prefix > bits) return undefined;
  const size = 1n << BigInt(bits - prefix);
  const base = (numberOf(address) / size) * size + (family === 4 ? 0n : IPV6);
  return { first: base, last: base + size - 1n };
}

/** @param ranges each readable by readRange */
export function classifyAddresses(ranges: readonly string[]): AddressClasses {
  const read = [...new Set(ranges)].map((text) => ({ text, ...readRange(text)! }));
  const cuts = new Set([0n, IPV6]);
  for (const { first, last } of read) cuts.add(first).add(last + 1n);
  cuts.delete(IPV6 + (1n << 128n));
  const holding = (address: bigint) => read.filter(({ first, last }) => first <= address && address <= last);
  const numbers = new Map<string, number>();
  const examples: string[] = [];
  const passed = new Map<string, number[]>(read.map(({ text }) => [text, []]));
  const points = [...cuts].sort((a, b) => (a < b ? -1 : 1));
  // The plainest address comes first and is class 0: one that no range holds, if there is such a one.
  const ordered = points
    .map((point) => ({ point, held: holding(point) }))
    .sort((a, b) => a.held.length - b.held.length);
  for (const { point, held } of ordered) {
    const key = keyOf(held);
    if (numbers.has(key)) continue;
    const number = examples.push(format(point)) - 1;
    numbers.set(key, number);
    for (const { text } of held) passed.get(text)!.push(number);
  }
  return {
    examples,
    passing: (range) => passed.get(range)!,
    classOf: (address) => numbers.get(keyOf(holding(readRange(address)!.first))) ?? 0,
  };
}

function keyOf(held: readonly { readonly text: string }[]): string {
  return held.map(({ text }) => text).join();
}

function numberOf(address: string): bigint {
  if (isIP(address) === 4) return address.split('.').reduce((sum, part) => sum * 256n + BigInt(part), 0n);
  const [front = '', back] = address.replace(/%.*$/, '').split('::');
  const groups = (text: string) =>
    text === ''
      ? []
      : text.split(':').flatMap((part) => {
          if (!part.includes('.')) return [BigInt(`0x${part}`)];
          const four = numberOf(part);
          return [four >> 16n, four & 0xffffn];
        });
  const [left, right] = [groups(front), back === undefined ? [] : groups(back)];
  const zeros = new Array<bigint>(8 - left.length - right.length).fill(0n);
  return [...left, ...zeros, ...right].reduce((sum, group) => (sum << 16n) + group, 0n);
}

function format(address: bigint): string {
  if (address < IPV6) return [24n, 16n, 8n, 0n].map((shift) => (address >> shift) & 255n).join('.');
  const value = address - IPV6;
  const groups = Array.from({ length: 8 }, (_, index) => (value >> BigInt(16 * (7 - index))) & 0xffffn);
  return groups.map((group) => group.toString(16)).join(':');
}
