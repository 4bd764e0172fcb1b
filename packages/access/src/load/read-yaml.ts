/**
 * Reads YAML into plain data and records the place of every value. Only plain YAML is accepted, without aliases, tags
 * or duplicate keys, and its size and depth are limited. A file therefore always means what it appears to mean.
 */

import type { Place } from '@meshpass/istio';
import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  Lexer,
  LineCounter,
  type Node,
  type Pair,
  parseDocument,
  type YAMLMap,
} from 'yaml';
import { type AccessFileProblem, problemAt } from '../problem.ts';

const MAX_BYTES = 1024 * 1024;
const MAX_DEPTH = 16;
const MAX_NODES = 50_000;
/**
 * The maximum number of words, punctuation marks, line ends and backslashes. Each of them may cause an error, and the
 * library allocates up to a kilobyte for each error. A mebibyte of commas used a gigabyte of memory.
 */
export const MAX_YAML_TOKENS = 150_000;
const MAX_PROBLEMS = 100;
const MAX_MESSAGE = 300;

/** The remaining budget, which all files of one access file share. */
export interface YamlBudget {
  pieces: number;
}

type Path = readonly PropertyKey[];

export interface YamlFile {
  readonly value: unknown;
  /**
   * Returns the place of the key or the value at `path`. If the path does not exist, returns the place of the nearest
   * enclosing value.
   */
  readonly locate: (path: Path, part: 'key' | 'value') => Place;
}

/**
 * Reads plain YAML and records the place of every value. Aliases, tags and duplicate keys are rejected, and the size
 * and depth are limited.
 * @param text the YAML text, at most 1 MiB
 * @param file the file name to use in messages
 * @param budget the budget, which can be shared by files that are read together
 * @returns the file, or all problems with their places
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
  budget: YamlBudget = { pieces: MAX_YAML_TOKENS },
): { readonly yaml: YamlFile } | { readonly problems: readonly AccessFileProblem[] } {
  const start: Place = { file, line: 1, column: 1 };
  if (Buffer.byteLength(text) > MAX_BYTES) {
    return { problems: [problemAt(start, 'the file is larger than 1 MiB')] };
  }
  if (!spend(text, budget)) {
    const message = `this file and the files read before it have more than ${MAX_YAML_TOKENS} words, punctuation marks and line breaks`;
    return { problems: [problemAt(start, message)] };
  }
  const counter = new LineCounter();
  const place = (offset: number | undefined): Place => {
    const { line, col } = counter.linePos(offset ?? 0);
    return { file, line: Math.max(1, line), column: Math.max(1, col) };
  };
  try {
    // Duplicate keys are detected below, because the library's own check takes quadratic time.
    const document = parseDocument(text, {
      lineCounter: counter,
      prettyErrors: false,
      uniqueKeys: false,
      version: '1.2',
      schema: 'core',
    });
    // The library catches its own stack overflows and reports them as errors.
    if (document.errors.some(({ message }) => message.includes('call stack'))) return { problems: [tooDeep(start)] };
    const problems: AccessFileProblem[] = [...document.errors, ...document.warnings]
      .slice(0, MAX_PROBLEMS)
      .map((error) => ({
        code: 'access_file_syntax',
        place: place(error.pos[0]),
        message:
          error.code === 'MULTIPLE_DOCS'
            ? 'expected one YAML document, but the file has several (`---`)'
            : error.message.slice(0, MAX_MESSAGE),
      }));
    if (problems.length === 0) problems.push(...unplain(document.contents, place));
    if (problems.length > 0) return { problems };
    return {
      yaml: { value: document.toJS({ maxAliasCount: 0 }), locate: (path, part) => place(find(document, path, part)) },
    };
  } catch (error) {
    // The library is recursive, so a stack overflow means that the file is nested too deeply.
    if (error instanceof RangeError) return { problems: [tooDeep(start)] };
    throw error;
  }
}

/**
 * Deducts the tokens in a file from the budget. This takes a tenth of the time that parsing takes.
 * @returns whether the budget was sufficient
 */
function spend(text: string, budget: YamlBudget): boolean {
  for (let at = text.indexOf('\\'); at >= 0; at = text.indexOf('\\', at + 1)) budget.pieces--;
  for (const _ of new Lexer().lex(text)) if (--budget.pieces < 0) return false;
  return budget.pieces >= 0;
}

function tooDeep(place: Place): AccessFileProblem {
  return problemAt(place, `the file is nested deeper than ${MAX_DEPTH} levels`);
}

const ALIAS =
  'a value that begins with * is a YAML alias, and aliases are not allowed: write the value out, or quote it if it is a pattern';

function unplain(root: Node | null, place: (offset: number | undefined) => Place): AccessFileProblem[] {
  const problems: AccessFileProblem[] = [];
  const say = (node: Node | null, message: string, code: AccessFileProblem['code'] = 'access_file_syntax') => {
    if (problems.length < MAX_PROBLEMS) problems.push({ code, place: place(node?.range?.[0]), message });
  };
  let nodes = 0;
  const walk = (node: Node | null, depth: number): void => {
    if (!node || ++nodes > MAX_NODES) return;
    if (depth > MAX_DEPTH) say(node, `nested deeper than ${MAX_DEPTH} levels`, 'access_file_invalid');
    else if (isAlias(node)) say(node, ALIAS);
    else walkContent(node, depth);
  };
  const walkContent = (node: Node, depth: number): void => {
    if ('anchor' in node && node.anchor) say(node, 'YAML anchors are not allowed: write the value out');
    if (node.tag) say(node, 'YAML tags are not allowed: remove it');
    if (isSeq(node)) for (const item of node.items) walk(item as Node, depth + 1);
    if (isMap(node)) walkMembers(node.items as Pair<Node, Node | null>[], depth);
  };
  const walkMembers = (pairs: readonly Pair<Node, Node | null>[], depth: number): void => {
    const seen = new Set<string>();
    for (const { key, value } of pairs) {
      if (!isScalar(key) || (typeof key.value !== 'string' && typeof key.value !== 'number')) {
        say(key, 'a key must be a plain word');
        continue;
      }
      const name = String(key.value);
      if (seen.has(name)) say(key, `duplicate key "${name}"`, 'access_file_invalid');
      if (name === '__proto__') say(key, 'unknown key "__proto__"', 'access_file_unknown_key');
      seen.add(name);
      walk(value, depth + 1);
    }
  };
  walk(root, 1);
  if (nodes > MAX_NODES) say(root, `the file has more than ${MAX_NODES} values`, 'access_file_invalid');
  return problems;
}

/** Returns the offset of the node at a path, or that of its nearest ancestor that exists. */
function find(document: Document, path: Path, part: 'key' | 'value'): number {
  let node: Node | null = document.contents;
  let offset = node?.range?.[0] ?? 0;
  for (const [index, step] of path.entries()) {
    const pair = isMap(node) ? pairAt(node, step) : undefined;
    offset = pair?.key.range?.[0] ?? offset;
    if (pair && part === 'key' && index === path.length - 1) return offset;
    node = isSeq(node) ? ((node.items[Number(step)] as Node | undefined) ?? null) : (pair?.value ?? null);
    if (!node) return offset;
    offset = node.range?.[0] ?? offset;
  }
  return offset;
}

function pairAt({ items }: YAMLMap, step: Path[number]): Pair<Node, Node | null> | undefined {
  return (items as Pair<Node, Node | null>[]).find(({ key }) => isScalar(key) && String(key.value) === String(step));
}
