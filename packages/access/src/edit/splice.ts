/** Inserts text into YAML in the style of its surroundings, either inside brackets or on a new line. */
import { isMap, type Node, type YAMLMap, type YAMLSeq } from 'yaml';

export interface Splice {
  readonly at: number;
  readonly insert: string;
}

/** An item to insert, formatted in flow style. A map is also formatted as lines in block style. */
export interface Item {
  readonly flow: string;
  readonly block?: readonly string[];
}

/** Inserts text at an offset. */
export function splice(text: string, { at, insert }: Splice): string {
  return text.slice(0, at) + insert + text.slice(at);
}

/**
 * Appends an item to a YAML list.
 * @param list the list, which must not be empty
 */
export function appendToList(text: string, list: YAMLSeq<Node>, { flow, block }: Item): Splice {
  const last = list.items.at(-1)!;
  const end = valueEnd(last);
  if (list.flow) return { at: end, insert: `, ${flow}` };
  const dash = text.lastIndexOf('-', last.range![0] - 1);
  const indent = ' '.repeat(dash - lineStart(text, dash));
  // Use the same style as the previous item.
  const asLines = block && isMap(last) && !last.flow;
  const lines = asLines
    ? block.map((line, index) => `${indent}${index === 0 ? '- ' : '  '}${line}`)
    : [`${indent}- ${flow}`];
  return afterLine(text, end, lines);
}

/**
 * Appends a key and a value to a YAML map.
 * @param map the map, which must not be empty
 * @param pair the text to add, as `KEY: VALUE` on one line
 */
export function appendToMap(text: string, map: YAMLMap, pair: string): Splice {
  const last = map.items.at(-1)!;
  const end = valueEnd((last.value ?? last.key) as Node);
  if (map.flow) return { at: end, insert: `, ${pair}` };
  const key = (map.items[0]!.key as Node).range![0];
  return afterLine(text, end, [`${' '.repeat(key - lineStart(text, key))}${pair}`]);
}

/** Returns the offset where a value ends, excluding any comments and blank lines after it. */
function valueEnd(node: Node): number {
  const nested = (node as { readonly items?: readonly unknown[]; readonly flow?: boolean }).items;
  if (!nested || (node as { readonly flow?: boolean }).flow) return node.range![1];
  const last = nested.at(-1) as Node | { readonly key: Node; readonly value: Node | null };
  return valueEnd('key' in last ? (last.value ?? last.key) : last);
}

/**
 * Inserts lines after the line that contains the end of a value. If the value has a trailing comment, it stays on that
 * line.
 */
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
