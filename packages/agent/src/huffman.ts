/**
 * The Huffman code of HPACK (RFC 7541 section 5.2 and appendix B). The code is canonical: codes of one length are handed
 * out in the order of their symbols, so that the lengths alone describe it.
 */

/** Bits of each symbol's code, as runs "LENGTH x COUNT"; the last symbol, 256, is the end of the string. */
const LENGTHS =
  '13 23 28x7 24 30 28x2 30 28x8 30 28x9 6 10x2 12 13 6 8 11 10x2 8 11 8 6x3 5x3 6x7 7 8 15 6 12 10 13 6 7x22 8 7 8 13 19 13 14 ' +
  '6 15 5 6 5 6 5 6x3 5 7x2 6x3 5 6 7 6 5x2 6 7x5 15 11 14 13 28 20 22 20x2 22x3 23 22 23x5 24 23 24x2 22 23 24 23x4 21 22 23 ' +
  '22 23x2 24 22 21 20 22x2 23x2 21 23 22x2 24 21 22 23x2 21x2 22 21 23 22 23x2 20 22x3 23 22x2 23 26x2 20 19 22 23 22 25 ' +
  '26x3 27x2 26 24 25 19 21 26 27x2 26 27 24 21x2 26x2 28 27x3 20 24 20 21 22 21x2 23 22x2 25x2 24x2 26 23 26 27 26x2 27x5 28 ' +
  '27x5 26 30';
const END = 256;

/** A node is an index into this list: for each of the 16 values of the next four bits, where they lead and what they say. */
interface Machine {
  /** state * 16 + nibble: the next state, or FAIL. */
  readonly next: Int16Array;
  /** The symbol that ends within these four bits, or -1. No two can: the shortest code has five bits. */
  readonly symbol: Int16Array;
  /** States in which a string may end: at a code's end, or within fewer than eight bits of padding. */
  readonly complete: Uint8Array;
}
const FAIL = -1;
let machine: Machine | undefined;

/** @returns the text as latin1; undefined where the bytes are not a whole Huffman string */
export function decodeHuffman(bytes: Buffer, from: number, to: number): string | undefined {
  machine ??= buildMachine();
  const { next, symbol, complete } = machine;
  const out = Buffer.allocUnsafe(((to - from) * 8) / 5 + 1);
  let length = 0;
  let state = 0;
  for (let at = from; at < to; at++) {
    const byte = bytes[at]!;
    for (const nibble of [byte >> 4, byte & 15]) {
      const step = state * 16 + nibble;
      if (symbol[step]! >= 0) out[length++] = symbol[step]!;
      state = next[step]!;
      if (state === FAIL) return undefined;
    }
  }
  return complete[state] ? out.toString('latin1', 0, length) : undefined;
}

/** Lengths of the codes of symbols 0 to 256. */
function codeLengths(): number[] {
  return LENGTHS.split(' ').flatMap((run) => {
    const [length, count = 1] = run.split('x').map(Number);
    return new Array<number>(count).fill(length!);
  });
}

function buildMachine(): Machine {
  // First the tree of single bits: `children[2 * node + bit]` is a node, or ~symbol.
  const children: number[] = [0, 0];
  const lengths = codeLengths();
  const inOrder = lengths
    .map((length, sign) => ({ length, sign }))
    .sort((a, b) => a.length - b.length || a.sign - b.sign);
  let code = 0;
  let bits = inOrder[0]!.length;
  for (const { length, sign } of inOrder) {
    code <<= length - bits;
    bits = length;
    let node = 0;
    for (let bit = length - 1; bit >= 0; bit--) {
      const slot = 2 * node + ((code >>> bit) & 1);
      if (bit === 0) children[slot] = ~sign;
      else {
        if (!children[slot]) {
          children[slot] = children.length / 2;
          children.push(0, 0);
        }
        node = children[slot]!;
      }
    }
    code += 1;
  }
  // Then four bits at a time. Every node can be a state.
  const nodes = children.length / 2;
  const next = new Int16Array(nodes * 16);
  const symbol = new Int16Array(nodes * 16).fill(-1);
  for (let state = 0; state < nodes; state++) {
    for (let nibble = 0; nibble < 16; nibble++) {
      let node = state;
      const step = state * 16 + nibble;
      for (let bit = 3; bit >= 0 && node !== FAIL; bit--) {
        const child = children[2 * node + ((nibble >> bit) & 1)]!;
        if (child >= 0) node = child;
        else if (~child === END) node = FAIL;
        else {
          symbol[step] = ~child;
          node = 0;
        }
      }
      next[step] = node;
    }
  }
  // Padding is the most significant bits of END, which are ones, and fewer than eight.
  const complete = new Uint8Array(nodes);
  for (let node = 0, ones = 0; ones < 8; ones++) {
    complete[node] = 1;
    node = children[2 * node + 1]!;
  }
  return { next, symbol, complete };
}
