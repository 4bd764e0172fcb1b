/** Insertions into the text of a YAML document that follow the style around them: in brackets, or a line of their own. */
import { isMap, type Node, type YAMLMap, type YAMLSeq } from 'yaml';

export interface Splice {
  readonly at: number;
  readonly insert: string;
}

/** One more item: on one line, and as the lines of a map where it is one. */
export interface Item {
  readonly flow: string;
  readonly block?: readonly string[];
}

export function splice(text: string, { at, insert }: Splice): string {
  return text.slice(0, at) + insert + text.slice(at);
}

/** @param list with at least one item */
export function appendToList(text: string, list: YAMLSeq<Node>, { flow, block }: Item): Splice {
  const last = list.items.at(-1)!;
  const end = valueEnd(last);
  if (list.flow) return { at: end, insert: `, ${flow}` };
  const dash = text.lastIndexOf('-', last.range![0] - 1);
  const indent = ' '.repeat(dash - lineStart(text, dash));
  // As the item before it is written.
  const asLines = block && isMap(last) && !last.flow;
  const lines = asLines
    ? block.map((line, index) => `${indent}${index === 0 ? '- ' : '  '}${line}`)
    : [`${indent}- ${flow}`];
  return afterLine(text, end, lines);
}

/** @param map with at least one pair; @param pair `KEY: VALUE` on one line */
export function appendToMap(text: string, map: YAMLMap, pair: string): Splice {
  const last = map.items.at(-1)!;
  const end = valueEnd((last.value ?? last.key) as Node);
  if (map.flow) return { at: end, insert: `, ${pair}` };
  const key = (map.items[0]!.key as Node).range![0];
  return afterLine(text, end, [`${' '.repeat(key - lineStart(text, key))}${pair}`]);
}

/** Where the value ends, without the comments and blank lines after it. */
function valueEnd(node: Node): number {
  const nested = (node as { readonly items?: readonly unknown[]; readonly flow?: boolean }).items;
  if (!nested || (node as { readonly flow?: boolean }).flow) return node.range![1];
  const last = nested.at(-1) as Node | { readonly key: Node; readonly value: Node | null };
  return valueEnd('key' in last ? (last.value ?? last.key) : last);
}

/** What stands behind a value on its line, a comment for example, stays there. */
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
