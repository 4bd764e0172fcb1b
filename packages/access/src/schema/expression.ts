/**
 * The `when` of the access file: CEL (https://cel.dev) over what an attestation knows. Checked as far as can be when
 * the file is read; bounded when it runs: no loop in a loop in a loop, no more than a thousand values to look at, and
 * regular expressions by RE2, which is linear.
 */
import { type CelInput, celEnv, isCelError, parse, plan } from '@bufbuild/cel';
import type { Attestation } from '@meshpass/identity';
import type { Parsed } from '../problem.ts';

/** What an expression may look at. */
export const EXPRESSION_VARIABLES = ['claims', 'issuer', 'subject', 'login', 'teams', 'workspace'] as const;

export interface Expression {
  /** True or false, or why neither can be said. */
  readonly evaluate: (attestation: Attestation) => boolean | { readonly error: string };
}

const MAX_LENGTH = 2000;
const MAX_LOOPS = 2;
const MAX_VALUES = 1000;
const TYPES = new Set(['int', 'uint', 'double', 'bool', 'string', 'bytes', 'list', 'map', 'null_type', 'type']);
/** Handled by the evaluator itself rather than found by name. */
const OPERATORS = new Set(['_&&_', '_||_', '_?_:_', '_[_]', '@not_strictly_false']);

const environment = celEnv();

/**
 * Compiles an expression and refuses what could not mean what its writer thinks: unknown variables and functions,
 * expressions that look at nothing, regular expressions and searches that are not anchored.
 */
export function parseExpression(text: string): Parsed<Expression> {
  if (text.length > MAX_LENGTH) return refuse(`the expression is longer than ${MAX_LENGTH} characters`);
  let run: ReturnType<typeof plan>;
  try {
    const parsed = parse(text);
    const problem = parsed.expr ? inspect(parsed.expr as unknown as Node) : 'the expression is empty';
    if (problem) return refuse(problem);
    run = plan(environment, parsed);
  } catch (error) {
    return refuse(`not a CEL expression: ${error instanceof Error ? error.message : String(error)}`);
  }
  return { value: { evaluate: (attestation) => evaluate(run, attestation) } };
}

function evaluate(run: ReturnType<typeof plan>, attestation: Attestation): boolean | { readonly error: string } {
  const budget = { values: MAX_VALUES };
  try {
    const { claims, issuer, subject, login, teams, workspace } = attestation;
    const bindings = Object.fromEntries(
      Object.entries({ claims, issuer, subject, login, teams, workspace }).map(([name, value]) => [
        name,
        toCel(value, budget),
      ]),
    );
    if (budget.values < 0) return { error: `the claims hold more than ${MAX_VALUES} values` };
    const result = run(bindings as Record<string, CelInput>);
    if (typeof result === 'boolean') return result;
    return { error: isCelError(result) ? result.message : 'the expression gives neither true nor false' };
  } catch (error) {
    return { error: error instanceof Error ? error.message : String(error) };
  }
}

/** Own members only, whole numbers as CEL `int` (JSON does not tell them apart, people compare them with `1`). */
function toCel(value: unknown, budget: { values: number }): CelInput {
  if (--budget.values < 0) return null;
  if (typeof value === 'number') return Number.isSafeInteger(value) ? BigInt(value) : value;
  if (Array.isArray(value)) return value.map((item) => toCel(item, budget));
  if (typeof value === 'object' && value !== null) {
    const members = Object.entries(value).filter(([, member]) => member !== undefined);
    return new Map(members.map(([name, member]) => [name, toCel(member, budget)]));
  }
  return typeof value === 'string' || typeof value === 'boolean' ? value : null;
}

/** The parts of cel.expr.Expr (cel-spec, syntax.proto) that are looked at here. */
interface Node {
  readonly exprKind:
    | { readonly case: 'identExpr'; readonly value: { readonly name: string } }
    | {
        readonly case: 'constExpr';
        readonly value: { readonly constantKind: { readonly case?: string; readonly value?: unknown } };
      }
    | { readonly case: 'selectExpr'; readonly value: { readonly operand?: Node } }
    | {
        readonly case: 'callExpr';
        readonly value: { readonly function: string; readonly target?: Node; readonly args: readonly Node[] };
      }
    | { readonly case: 'listExpr'; readonly value: { readonly elements: readonly Node[] } }
    | { readonly case: 'structExpr' }
    | {
        readonly case: 'comprehensionExpr';
        readonly value: Readonly<Record<'accuVar' | 'iterVar', string>> &
          Readonly<Record<'iterRange' | 'accuInit' | 'loopCondition' | 'loopStep' | 'result', Node | undefined>>;
      }
    | { readonly case: undefined };
}

/** The first thing wrong with an expression, or undefined. */
function inspect(root: Node): string | undefined {
  let looked = false;
  const walk = (node: Node | undefined, bound: ReadonlySet<string>, loops: number): string | undefined => {
    const kind = node?.exprKind;
    switch (kind?.case) {
      case 'identExpr': {
        const { name } = kind.value;
        if (bound.has(name) || TYPES.has(name)) return undefined;
        looked = true;
        return EXPRESSION_VARIABLES.some((variable) => variable === name)
          ? undefined
          : `unknown variable "${name}": there are ${EXPRESSION_VARIABLES.join(', ')}`;
      }
      case 'selectExpr':
        return walk(kind.value.operand, bound, loops);
      case 'listExpr':
        return first(kind.value.elements, (element) => walk(element, bound, loops));
      case 'callExpr': {
        const { function: name, target, args } = kind.value;
        if (!OPERATORS.has(name) && !environment.funcs.find(name)) return `unknown function "${name}"`;
        const search = name === 'matches' || name === 'contains' ? unanchored(name, args.at(-1)) : undefined;
        return search ?? first([target, ...args], (part) => walk(part, bound, loops));
      }
      case 'comprehensionExpr': {
        if (loops === MAX_LOOPS) return `more than ${MAX_LOOPS} loops (exists, all, map, filter) inside each other`;
        const { iterVar, accuVar, iterRange, accuInit, loopCondition, loopStep, result } = kind.value;
        const inner = new Set([...bound, iterVar, accuVar]);
        return (
          first([iterRange, accuInit], (part) => walk(part, bound, loops)) ??
          first([loopCondition, loopStep, result], (part) => walk(part, inner, loops + 1))
        );
      }
      case 'structExpr':
        return 'maps and messages cannot be made here';
      default:
        return undefined;
    }
  };
  return (
    walk(root, new Set(), 0) ??
    (looked ? undefined : 'the expression looks at nothing, so it holds for everyone or no one')
  );
}

/** Searches within a string: `x@acme.com.evil.example` contains `@acme.com`. */
function unanchored(name: 'matches' | 'contains', argument: Node | undefined): string | undefined {
  if (name === 'contains') return 'contains() is not anchored: use ==, startsWith, endsWith or exists';
  const constant = argument?.exprKind.case === 'constExpr' ? argument.exprKind.value.constantKind.value : undefined;
  if (typeof constant !== 'string') return 'matches() needs its pattern written out as text';
  const tried = plan(environment, parse(`"".matches(${JSON.stringify(constant)})`))();
  if (isCelError(tried)) return `matches(): ${tried.message}`;
  return isAnchored(constant)
    ? undefined
    : 'matches() is not anchored: begin with ^, end with $, put alternatives in ( )';
}

/** `^...$` with no alternative outside of a group, which would escape both. */
function isAnchored(pattern: string): boolean {
  if (!pattern.startsWith('^') || !/(?:^|[^\\])(?:\\\\)*\$$/.test(pattern) || pattern.startsWith('^*')) return false;
  let depth = 0;
  let inClass = false;
  for (let i = 0; i < pattern.length; i++) {
    const character = pattern[i];
    if (character === '\\') {
      // \Q...\E quotes and hides what follows: not worth understanding
      if (pattern[i + 1] === 'Q') return false;
      i++;
    } else if (inClass) inClass = character !== ']';
    else if (character === '[') {
      inClass = true;
      if (pattern[i + 1] === '^') i++;
      if (pattern[i + 1] === ']') i++;
    } else if (character === '(') {
      // (?m) makes ^ and $ mean lines
      if (pattern[i + 1] === '?' && pattern[i + 2] !== ':') return false;
      depth++;
    } else if (character === ')') depth--;
    else if (character === '|' && depth === 0) return false;
  }
  return true;
}

function first<T>(items: readonly T[], find: (item: T) => string | undefined): string | undefined {
  for (const item of items) {
    const found = find(item);
    if (found) return found;
  }
  return undefined;
}

function refuse(message: string): Parsed<never> {
  return { code: 'access_file_expression', message };
}
