import { readFileSync } from 'node:fs';
import { parseSync } from 'rolldown/utils';

export interface Wait {
  readonly file: string;
  readonly line: number;
  /** Code text on one line, with long arguments as `...`. */
  readonly code: string;
  readonly kind: 'sleep' | 'deadline';
}

/** A wait that the list allows. An entry allows one wait. */
export interface AllowedWait {
  readonly file: string;
  readonly code: string;
  readonly reason: string;
}

/** Shortest deadline that a busy machine keeps, ms. */
export const MIN_DEADLINE_MS = 10_000;
/** Shortest time limit of a whole test, ms. */
export const MIN_TEST_MS = 30_000;
/** Longest pause between two polls of a loop, ms. */
export const MAX_POLL_MS = 1_000;

const ADVICE = {
  sleep: 'wait for the event with expect.poll, move the injected clock, or',
  deadline: `set at least ${MIN_DEADLINE_MS / 1000} s (${MIN_TEST_MS / 1000} s for a whole test), or`,
};

/** Reads the allow list: `FILE: CODE: REASON`. Lines with # are comments. */
export function readAllowedWaits(file: string | URL): readonly AllowedWait[] {
  return readFileSync(file, 'utf8')
    .split('\n')
    .filter((line) => line.trim() !== '' && !line.startsWith('#'))
    .map((line) => {
      const [, path, code, reason] = /^(\S+): (.+): (.+)$/.exec(line) ?? [];
      if (reason === undefined) throw new Error(`test/structure/waits.txt: not FILE: CODE: REASON: ${line}`);
      return { file: path!, code: code!, reason };
    });
}

/** Compares waits with the allow list. @returns violations: waits without an entry, and entries without a wait */
export function waitViolations(waits: readonly Wait[], allowed: readonly AllowedWait[]): readonly string[] {
  const unused = [...allowed];
  const violations = waits.flatMap(({ file, line, code, kind }) => {
    const entry = unused.findIndex((one) => one.file === file && one.code === code);
    if (entry >= 0) unused.splice(entry, 1);
    const found = `${file}:${line}: ${kind === 'sleep' ? 'fixed sleep' : 'short deadline'} \`${code}\``;
    return entry >= 0 ? [] : [`${found}: ${ADVICE[kind]} add it to test/structure/waits.txt with a reason.`];
  });
  return [
    ...violations,
    ...unused.map(({ file, code }) => `test/structure/waits.txt: \`${code}\` matches nothing in ${file}: remove it.`),
  ];
}

/**
 * Finds fixed sleeps and short deadlines in a test module.
 *   - sleeps: a timer that resolves a promise, `sleep`, `pause` and functions of the module that only do that, and any `setTimeout` below
 *     MIN_DEADLINE_MS. A pause of at most MAX_POLL_MS in a `while`, `do` or `for (;;)` loop is a poll, and zero is a turn of the event loop.
 *   - deadlines: `timeout: N`, `AbortSignal.timeout(N)`, `socket.setTimeout(N)`, `vi.waitFor` with N or without any, `until(look, ok,
 *     SECONDS)`, time limits of tests, and measured durations that are asserted to be short
 * A number is a literal, a product of literals, or a constant of the module. Programs in strings are not searched.
 */
export function findWaits(file: string, text: string): readonly Wait[] {
  const { program } = parseSync(file, text);
  const module = readModule(program as unknown as Node);
  const found: Wait[] = [];
  walk(program as unknown as Node, [], (node, parents) => {
    const kind = kindOf(node, parents, module);
    if (kind === undefined) return;
    const line = text.slice(0, node.start).split('\n').length;
    found.push({ file, line, code: codeOf(node, text), kind });
  });
  return found;
}

interface Node {
  readonly type: string;
  readonly start: number;
  readonly end: number;
  readonly [member: string]: unknown;
}

interface Module {
  /** Initial values of constants by name. */
  readonly constants: ReadonlyMap<string, Node>;
  /** Functions that wait for the milliseconds of their first argument. */
  readonly sleeps: ReadonlySet<string>;
}

const TEST = /^(it|test|describe|before(Each|All)|after(Each|All))\b/;
const FUNCTION = /^(ArrowFunctionExpression|FunctionExpression|FunctionDeclaration)$/;
/** Loops that end with a condition. */
const LOOP = /^(While|DoWhile|For)Statement$/;
/** Longest argument that is part of an entry, characters. */
const MAX_ARGUMENT = 60;

function kindOf(node: Node, parents: readonly Node[], module: Module): Wait['kind'] | undefined {
  if (node.type === 'Property') return isShortTimeout(node, parents, module) ? 'deadline' : undefined;
  if (node.type !== 'CallExpression') return undefined;
  const callee = nameOf(node.callee as Node);
  if (module.sleeps.has(callee)) return isSleep(node, 0, parents, module) ? 'sleep' : undefined;
  if (callee === 'setTimeout') return isTimer(node, parents, module) ? 'sleep' : undefined;
  return isShortDeadline(node, callee, module) ? 'deadline' : undefined;
}

function isShortDeadline(node: Node, callee: string, module: Module): boolean {
  const list = node.arguments as readonly Node[];
  const isBelow = (argument: Node | undefined, limit: number) => (numberOf(argument, module) ?? limit) < limit;
  if (callee === 'AbortSignal.timeout' || callee.endsWith('.setTimeout')) return isBelow(list[0], MIN_DEADLINE_MS);
  if (callee === 'until') return isBelow(list[2], MIN_DEADLINE_MS / 1_000);
  if (/^vi\.wait(For|Until)$/.test(callee)) return list.length < 2 || isBelow(list[1], MIN_DEADLINE_MS);
  if (TEST.test(callee)) return list.length > 1 && isBelow(list.at(-1), MIN_TEST_MS);
  return /\.toBeLessThan(OrEqual)?$/.test(callee) && measuresTime(node) && isBelow(list[0], MIN_DEADLINE_MS);
}

function isShortTimeout({ key, value }: Node, parents: readonly Node[], module: Module): boolean {
  if (nameOf(key as Node) !== 'timeout') return false;
  const call = parents.at(-2);
  const isOfTest = call?.type === 'CallExpression' && TEST.test(nameOf(call.callee as Node));
  const limit = isOfTest ? MIN_TEST_MS : MIN_DEADLINE_MS;
  return (numberOf(value as Node, module) ?? limit) < limit;
}

/** Whether the timer resolves a promise, or fires sooner than a deadline may. */
function isTimer(node: Node, parents: readonly Node[], module: Module): boolean {
  const [callback, delay] = node.arguments as readonly Node[];
  const executor = parents.findLast(({ type }) => FUNCTION.test(type));
  const [resolve] = (executor?.params ?? []) as readonly Node[];
  const isOfPromise = resolve !== undefined && isExecutor(executor!, parents) && nameOf(callback) === nameOf(resolve);
  if (isOfPromise) return isSleep(node, 1, parents, module);
  const number = numberOf(delay, module);
  return number !== undefined && number > 0 && number < MIN_DEADLINE_MS;
}

function isSleep(node: Node, position: number, parents: readonly Node[], module: Module): boolean {
  const delay = (node.arguments as readonly Node[])[position];
  const number = numberOf(delay, module);
  if (number === 0 || isParameter(delay, parents)) return false;
  const from = parents.findLastIndex((one) => FUNCTION.test(one.type) && !isExecutor(one, parents));
  const isPoll = parents.slice(from + 1).some(({ type }) => LOOP.test(type));
  return !isPoll || (number ?? 0) > MAX_POLL_MS;
}

function isExecutor(node: Node, parents: readonly Node[]): boolean {
  const parent = parents[parents.indexOf(node) - 1];
  return parent?.type === 'NewExpression' && nameOf(parent.callee as Node) === 'Promise';
}

/** Whether it is a parameter of a function around it. If it is the first one, each call of the function is a sleep. */
function isParameter(delay: Node | undefined, parents: readonly Node[]): boolean {
  return parents.some(({ type, params }) => FUNCTION.test(type) && isOneOf(delay, params as readonly Node[]));
}

function isOneOf(delay: Node | undefined, params: readonly Node[]): boolean {
  return delay?.type === 'Identifier' && params.some((one) => nameOf(one) === nameOf(delay));
}

/** Whether the value that is compared comes from a clock. */
function measuresTime(node: Node): boolean {
  let found = false;
  walk(node.callee as Node, [], (one) => {
    found ||= one.type === 'CallExpression' && /^(Date|performance)\.now$/.test(nameOf(one.callee as Node));
  });
  return found;
}

function readModule(program: Node): Module {
  const constants = new Map<string, Node>();
  const sleeps = new Set<string>();
  walk(program, [], (node, parents) => {
    if (node.type === 'VariableDeclarator' && node.init) constants.set(nameOf(node.id as Node), node.init as Node);
    if (node.type === 'ImportSpecifier' && isOfSleep(node, parents.at(-1)!)) sleeps.add(nameOf(node.local as Node));
    const name = sleepAround(node, parents);
    if (name !== '') sleeps.add(name);
  });
  return { constants, sleeps };
}

/** Name of the function whose first parameter is the delay of this timer, or nothing. */
function sleepAround(node: Node, parents: readonly Node[]): string {
  if (node.type !== 'CallExpression' || nameOf(node.callee as Node) !== 'setTimeout') return '';
  const at = parents.findLastIndex((one) => FUNCTION.test(one.type) && !isExecutor(one, parents));
  const [first] = (parents[at]?.params ?? []) as readonly Node[];
  if (!first || !isOneOf((node.arguments as readonly Node[])[1], [first])) return '';
  return nameOf((parents[at]!.id ?? parents[at - 1]!.id) as Node | undefined);
}

function isOfSleep({ imported, local }: Node, { source }: Node): boolean {
  const isOfTimers = (source as Node).value === 'node:timers/promises';
  return (isOfTimers && nameOf(imported as Node) === 'setTimeout') || /^(sleep|pause)$/.test(nameOf(local as Node));
}

/** `a.b` of identifiers, members and calls; empty for anything else. */
function nameOf(node: Node | undefined): string {
  if (node?.type === 'Identifier') return node.name as string;
  if (node?.type === 'CallExpression') return nameOf(node.callee as Node);
  if (node?.type !== 'MemberExpression' || node.computed) return '';
  return `${nameOf(node.object as Node)}.${nameOf(node.property as Node)}`;
}

function numberOf(node: Node | undefined, module: Module): number | undefined {
  if (node?.type === 'Literal') return typeof node.value === 'number' ? node.value : undefined;
  if (node?.type === 'Identifier') return numberOf(module.constants.get(node.name as string), module);
  if (node?.type === 'ParenthesizedExpression') return numberOf(node.expression as Node, module);
  if (node?.type !== 'BinaryExpression') return undefined;
  const [left, right] = [numberOf(node.left as Node, module), numberOf(node.right as Node, module)];
  if (left === undefined || right === undefined) return undefined;
  return node.operator === '*' ? left * right : node.operator === '+' ? left + right : undefined;
}

function codeOf(node: Node, text: string): string {
  const source = (one: Node) => text.slice(one.start, one.end).replaceAll(/\s+/g, ' ');
  if (node.type !== 'CallExpression') return source(node);
  const short = (one: Node) => (source(one).length > MAX_ARGUMENT ? '...' : source(one));
  return `${short(node.callee as Node)}(${(node.arguments as readonly Node[]).map(short).join(', ')})`;
}

function walk(node: Node, parents: readonly Node[], visit: (node: Node, parents: readonly Node[]) => void): void {
  visit(node, parents);
  const below = [...parents, node];
  for (const child of Object.values(node).flat()) if (isNode(child)) walk(child, below, visit);
}

function isNode(value: unknown): value is Node {
  return typeof value === 'object' && value !== null && 'type' in value;
}
