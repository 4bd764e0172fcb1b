/** IP addresses and blocks, as Go's net/netip takes them (no zones, no leading zeros) and Envoy compares them. */

interface Address {
  readonly bits: 32 | 128;
  readonly value: bigint;
}

export type AddressTest = (address: string) => boolean;

/** @returns undefined where the text is no address and no block */
export function addressTest(block: string): AddressTest | undefined {
  const [text, length, ...rest] = block.split('/');
  const base = parseAddress(text ?? '');
  if (!base || rest.length > 0) return undefined;
  if (length !== undefined && !/^(?:0|[1-9][0-9]{0,2})$/.test(length)) return undefined;
  const prefix = length === undefined ? base.bits : Number(length);
  if (prefix > base.bits) return undefined;
  const shift = BigInt(base.bits - prefix);
  const wanted = base.value >> shift;
  return (address) => {
    const found = parsedAddress(address);
    return found !== undefined && found.bits === base.bits && found.value >> shift === wanted;
  };
}

const REMEMBERED = 256;
const remembered = new Map<string, Address | undefined>();

/** Calls come from the same addresses again and again. */
function parsedAddress(text: string): Address | undefined {
  const known = remembered.get(text);
  if (known !== undefined || remembered.has(text)) return known;
  if (remembered.size >= REMEMBERED) remembered.clear();
  const address = parseAddress(text);
  remembered.set(text, address);
  return address;
}

export function parseAddress(text: string): Address | undefined {
  return text.includes(':') ? parseV6(text) : parseV4(text);
}

function parseV4(text: string): Address | undefined {
  const parts = text.split('.');
  if (parts.length !== 4) return undefined;
  let value = 0n;
  for (const part of parts) {
    if (!/^(?:0|[1-9][0-9]{0,2})$/.test(part) || Number(part) > 255) return undefined;
    value = (value << 8n) | BigInt(part);
  }
  return { bits: 32, value };
}

function parseV6(text: string): Address | undefined {
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const [head, tail] = halves.map((half) => (half === '' ? [] : half.split(':')));
  const groups = [...(head ?? []), ...(tail ?? [])];
  const last = groups.at(-1);
  let embedded: bigint | undefined;
  if (last?.includes('.')) {
    embedded = parseV4(last)?.value;
    if (embedded === undefined) return undefined;
    const list = (tail?.length ?? 0) > 0 ? tail! : head!;
    list.splice(-1, 1, (embedded >> 16n).toString(16), (embedded & 0xffffn).toString(16));
  }
  const count = (head?.length ?? 0) + (tail?.length ?? 0);
  if (tail === undefined ? count !== 8 : count > 7) return undefined;
  const whole = [...(head ?? []), ...Array<string>(8 - count).fill('0'), ...(tail ?? [])];
  let value = 0n;
  for (const group of whole) {
    if (!/^[0-9a-fA-F]{1,4}$/.test(group)) return undefined;
    value = (value << 16n) | BigInt(`0x${group}`);
  }
  return { bits: 128, value };
}
