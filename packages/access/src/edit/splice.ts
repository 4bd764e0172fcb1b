/** Inserts text into YAML in the surrounding style: inside brackets, or on a new line. */
import { isMap, type Node, type YAMLMap, type YAMLSeq } from 'yaml';

export interface Splice {
  readonly at: number;
  readonly insert: string;
}

/** Item in flow style and, if it is a map, also as block-style lines. */
export interface Item {
  readonly flow: string;
  readonly block?: readonly string[];
}

/** Inserts text at an offset. */
export function splice(text: string, { at, insert }: Splice): string {
  return text.slice(0, at) + insert + text.slice(at);
}

/**
 * Appends an item to a list.
 * @param list list with at least one item
 */
export function appendToList(text: string, list: YAMLSeq<Node>, { flow, block }: Item): Splice {
  const last = list.items.at(-1)!;
  const end = valueEnd(last);
  if (list.flow) return { at: end, insert: `, ${flow}` };
  const dash = text.lastIndexOf('-', last.range![0] - 1);
  const indent = ' '.repeat(dash - lineStart(text, dash));
  // Follows the style of the previous item.
  const asLines = block && isMap(last) && !last.flow;
  const lines = asLines
    ? block.map((line, index) => `${indent}${index === 0 ? '- ' : '  '}${line}`)
    : [`${indent}- ${flow}`];
  return afterLine(text, end, lines);
}

/**
 * Appends a key-value pair to a map.
 * @param map map with at least one pair
 * @param pair `KEY: VALUE` on one line
 */
export function appendToMap(text: string, map: YAMLMap, pair: string): Splice {
  const last = map.items.at(-1)!;
  const end = valueEnd((last.value ?? last.key) as Node);
  if (map.flow) return { at: end, insert: `, ${pair}` };
  const key = (map.items[0]!.key as Node).range![0];
  return afterLine(text, end, [`${' '.repeat(key - lineStart(text, key))}${pair}`]);
}

/** Returns the offset at which a value ends, before any comments and blank lines that follow it. */
function valueEnd(node: Node): number {
  const nested = (node as { readonly items?: readonly unknown[]; readonly flow?: boolean }).items;
  if (!nested || (node as { readonly flow?: boolean }).flow) return node.range![1];
  const last = nested.at(-1) as Node | { readonly key: Node; readonly value: Node | null };
  return valueEnd('key' in last ? (last.value ?? last.key) : last);
}

/** Inserts lines after the line on which a value ends. A trailing comment stays with its value. */
function afterLine(text: string, end: number, lines: readonly string[]): Splice {
  const newline = text.indexOf('\n', end);
  const eol = text.includes('\r\n') ? '\r\n' : '\n';
  return newline < 0
    ? { at: text.length, insert: eol + lines.join(eol) }
    : { at: newline + 1, insert: lines.map((line) => line + eol).join('') };
}

function lineStart(text: string, at: number): number {
  return text.lastIndexOf('\n', at - 1) + 1;
}
