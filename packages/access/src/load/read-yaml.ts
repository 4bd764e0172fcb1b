/**
 * YAML text to plain data that remembers where everything stood. Only the plain part of YAML is taken: no aliases, no
 * tags, no duplicate keys, bounded in size and depth, so that a file means what it looks like.
 */

import type { Place } from '@meshpass/istio';
import { type Document, isAlias, isMap, isScalar, isSeq, LineCounter, type Node, type Pair, parseDocument } from 'yaml';
import type { AccessFileProblem } from '../problem.ts';

const MAX_BYTES = 1024 * 1024;
const MAX_DEPTH = 16;
const MAX_NODES = 50_000;

type Path = readonly PropertyKey[];

export interface YamlFile {
  readonly value: unknown;
  /** Where the key or the value at `path` stands; the nearest thing around it where it is missing. */
  readonly locate: (path: Path, part: 'key' | 'value') => Place;
}

/**
 * Reads the plain part of YAML, with the place of every value: no aliases, tags or duplicate keys, bounded in size and depth.
 * @param text at most 1 MiB
 * @param file name for messages
 * @returns the file, or every problem with its place
 * @example
 * ```ts
 * import { readYaml } from '@meshpass/access';
 * const read = readYaml('grants:\n  dev: {}\n', 'access.yaml');
 * 'yaml' in read && read.yaml.locate(['grants', 'dev'], 'key'); // => { file: 'access.yaml', line: 2, column: 3 }
 * ```
 */
export function readYaml(
  text: string,
  file: string,
): { readonly yaml: YamlFile } | { readonly problems: readonly AccessFileProblem[] } {
  const start: Place = { file, line: 1, column: 1 };
  if (Buffer.byteLength(text) > MAX_BYTES) {
    return { problems: [{ code: 'access_file_invalid', place: start, message: 'the file is larger than 1 MiB' }] };
  }
  const counter = new LineCounter();
  const place = (offset: number | undefined): Place => {
    const { line, col } = counter.linePos(offset ?? 0);
    return { file, line: Math.max(1, line), column: Math.max(1, col) };
  };
  try {
    // Keys are compared below instead: the library does so in quadratic time.
    const document = parseDocument(text, {
      lineCounter: counter,
      prettyErrors: false,
      uniqueKeys: false,
      version: '1.2',
      schema: 'core',
    });
    // It catches the end of its own stack, too.
    if (document.errors.some(({ message }) => message.includes('call stack'))) return { problems: [tooDeep(start)] };
    const problems: AccessFileProblem[] = [...document.errors, ...document.warnings].map((error) => ({
      code: 'access_file_syntax',
      place: place(error.pos[0]),
      message:
        error.code === 'MULTIPLE_DOCS' ? 'an access file is one document, and this has several (`---`)' : error.message,
    }));
    if (problems.length === 0) problems.push(...unplain(document.contents, place));
    if (problems.length > 0) return { problems };
    return {
      yaml: { value: document.toJS({ maxAliasCount: 0 }), locate: (path, part) => place(find(document, path, part)) },
    };
  } catch (error) {
    // The library descends by recursion: a stack that ends is nesting without measure.
    if (error instanceof RangeError) return { problems: [tooDeep(start)] };
    throw error;
  }
}

function tooDeep(place: Place): AccessFileProblem {
  return { code: 'access_file_invalid', place, message: `the file is nested deeper than ${MAX_DEPTH} levels` };
}

function unplain(root: Node | null, place: (offset: number | undefined) => Place): AccessFileProblem[] {
  const problems: AccessFileProblem[] = [];
  const say = (node: Node | null, message: string, code: AccessFileProblem['code'] = 'access_file_syntax') =>
    problems.push({ code, place: place(node?.range?.[0]), message });
  let nodes = 0;
  const walk = (node: Node | null, depth: number): void => {
    if (!node || ++nodes > MAX_NODES) return;
    if (depth > MAX_DEPTH) {
      say(node, `nested deeper than ${MAX_DEPTH} levels`, 'access_file_invalid');
      return;
    }
    if (isAlias(node)) {
      say(
        node,
        'what begins with * is an alias in YAML, which is not taken here: write it out (a pattern goes in quotes)',
      );
      return;
    }
    if ('anchor' in node && node.anchor) say(node, 'anchors are not taken here: write it out');
    if (node.tag) say(node, 'tags are not taken here');
    if (isSeq(node)) for (const item of node.items) walk(item as Node, depth + 1);
    if (isMap(node)) {
      const seen = new Set<string>();
      for (const { key, value } of node.items as Pair<Node, Node | null>[]) {
        if (!isScalar(key) || (typeof key.value !== 'string' && typeof key.value !== 'number')) {
          say(key, 'a key must be a plain word');
          continue;
        }
        const name = String(key.value);
        if (seen.has(name)) say(key, `the key "${name}" stands here twice`, 'access_file_invalid');
        if (name === '__proto__') say(key, 'unknown key "__proto__"', 'access_file_unknown_key');
        seen.add(name);
        walk(value, depth + 1);
      }
    }
  };
  walk(root, 1);
  if (nodes > MAX_NODES) say(root, `the file holds more than ${MAX_NODES} values`, 'access_file_invalid');
  return problems;
}

/** Offset of the thing at `path`, or of the nearest around it that exists. */
function find(document: Document, path: Path, part: 'key' | 'value'): number {
  let node: Node | null = document.contents;
  let offset = node?.range?.[0] ?? 0;
  for (const [index, step] of path.entries()) {
    const last = index === path.length - 1;
    if (isSeq(node)) {
      node = (node.items[Number(step)] as Node | undefined) ?? null;
    } else if (isMap(node)) {
      const pair = (node.items as Pair<Node, Node | null>[]).find(
        ({ key }) => isScalar(key) && String(key.value) === String(step),
      );
      if (!pair) return offset;
      if (last && part === 'key') return pair.key.range?.[0] ?? offset;
      offset = pair.key.range?.[0] ?? offset;
      node = pair.value;
    } else return offset;
    if (!node) return offset;
    offset = node.range?.[0] ?? offset;
  }
  return offset;
}
