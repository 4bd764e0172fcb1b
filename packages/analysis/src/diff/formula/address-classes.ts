/**
 * Divides the addresses of a field into classes. Addresses that are in the same set of ranges form one class, which is
 * represented by an example.
 */
import { IPV6, parseCidr } from '../../address.ts';

export interface AddressClasses {
  readonly examples: readonly string[];
  readonly passing: (range: string) => readonly number[];
  readonly classOf: (address: string) => number;
}

/**
 * Divides all addresses into classes.
 * @param ranges the address ranges, in a format that `parseCidr` accepts
 */
export function classifyAddresses(ranges: readonly string[]): AddressClasses {
  const read = [...new Set(ranges)].map((text) => ({ text, ...parseCidr(text)! }));
  const cuts = new Set([0n, IPV6]);
  for (const { first, last } of read) cuts.add(first).add(last + 1n);
  cuts.delete(IPV6 + (1n << 128n));
  const holding = (address: bigint) => read.filter(({ first, last }) => first <= address && address <= last);
  const numbers = new Map<string, number>();
  const examples: string[] = [];
  const passed = new Map<string, number[]>(read.map(({ text }) => [text, []]));
  const points = [...cuts].sort((a, b) => (a < b ? -1 : 1));
  // Class 0 should be the plainest one. If possible, its addresses are outside all ranges.
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
    classOf: (address) => numbers.get(keyOf(holding(parseCidr(address)!.first))) ?? 0,
  };
}

function keyOf(held: readonly { readonly text: string }[]): string {
  return held.map(({ text }) => text).join();
}

function format(address: bigint): string {
  if (address < IPV6) return [24n, 16n, 8n, 0n].map((shift) => (address >> shift) & 255n).join('.');
  const value = address - IPV6;
  const groups = Array.from({ length: 8 }, (_, index) => (value >> BigInt(16 * (7 - index))) & 0xffffn);
  return groups.map((group) => group.toString(16)).join(':');
}
