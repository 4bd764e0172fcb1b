/**
 * The schema for `when`, a CEL expression (https://cel.dev) over an attestation. Expressions are checked as thoroughly
 * as possible when the file is read. Their size is limited before they are compiled, and the work they do is limited at
 * run time. Regular expressions use the RE2 syntax.
 */
import { type CelInput, CelScalar, celEnv, celFunc, celList, isCelError, listType, parse, plan } from '@bufbuild/cel';
import { RE2JS } from '@bufbuild/re2';
import type { Attestation } from '@meshpass/identity';
import type { Parsed } from '../problem.ts';
import { patternSize } from './pattern-size.ts';
import { metered, spend, withinBudget } from './work.ts';

const EXPRESSION_VARIABLES = ['claims', 'issuer', 'subject', 'login', 'teams', 'workspace'] as const;

export interface Expression {
  /** Evaluates the expression. Returns true or false, or the reason why the result cannot be decided. */
  readonly evaluate: (attestation: Attestation) => boolean | { readonly error: string };
}

/** An expression that has been parsed but not yet compiled. */
interface ReadExpression {
  /** The length of the expression in characters, plus the number of instructions in its regular expressions. */
  readonly size: number;
  /** The variables that the expression uses. */
  readonly variables: ReadonlySet<string>;
  /** Compiles the expression the first time it is called. */
  readonly compile: () => Parsed<Expression>;
}

const MAX_LENGTH = 2000;
/** The maximum number of instructions in one regular expression. */
const MAX_PATTERN = 1_000;
/** The fixed cost of each regular expression, in addition to its instructions. */
const PATTERN = 100;
/**
 * The maximum number of states cached per regular expression, and the maximum number of instructions in all of those
 * states. When these are exceeded, RE2 processes every character again.
 */
const MAX_STATES = 128;
const MAX_KEPT = 64_000;
const MAX_LOOPS = 2;
const MAX_VALUES = 1000;
/**
 * The cost of evaluating one part of an expression, in work units (see `work.ts`). Function calls are charged
 * separately.
 */
const PART = 15;
/** The additional cost of accessing a field or element, in case it is missing. */
const MEMBER = 120;
/** The cost of converting one value of the attestation to CEL, in work units. */
const MADE_READY = 20;
/** The cost of matching one character against one instruction of a regular expression, in work units. */
const INSTRUCTION = 2;
/**
 * The additional cost per character and instruction if the regular expression has more states than fit in the cache.
 */
const ANEW = 5;
/** The maximum number of characters multiplied by instructions for a single match. */
const MAX_STEPS = 500_000;
const TYPES = new Set(['int', 'uint', 'double', 'bool', 'string', 'bytes', 'list', 'map', 'null_type', 'type']);
/** Operators that the evaluator implements itself instead of looking up a function by name. */
const OPERATORS = new Set(['_&&_', '_||_', '_?_:_', '_[_]', '@not_strictly_false']);
/**
 * The names of two functions that are inserted into loops. The first comes before a loop's condition and charges for
 * each iteration. The second wraps the loop's range. Expressions cannot contain these names themselves.
 */
const [ROUND, RANGE] = ['@round', '@range'];

/**
 * The regular expressions of the expression that is being evaluated. A module variable is sufficient because evaluation
 * is synchronous.
 */
let running: ReadonlyMap<string, RE2JS> = new Map();

const { BOOL, DYN, INT } = CelScalar;
const LIST = listType(DYN);
const environment = metered(
  celEnv({
    re2: { compile: (pattern) => ({ test: (text) => match(running.get(pattern)!, text) }) },
    funcs: [
      celFunc(ROUND, [INT], BOOL, () => true),
      celFunc(RANGE, [DYN], DYN, (values) => values),
      // The library's own concatenation keeps references to both lists, so iterating over a list that was built in a
      // loop would take quadratic time.
      celFunc('_+_', [LIST, LIST], LIST, (a, b) => celList([...a, ...b])),
    ],
  }),
  {
    [ROUND]: ([units]) => Number(units),
    matches: ([text, pattern]) => {
      const compiled = running.get(String(pattern));
      return compiled ? unitsToMatch(compiled, String(text)) : 0;
    },
  },
);

function unitsToMatch(pattern: RE2JS, { length }: string): number {
  const { dfa, prog } = pattern.re2();
  const steps = length * prog.numInst();
  if (steps > MAX_STEPS) return Number.POSITIVE_INFINITY;
  return steps * (dfa.failed ? INSTRUCTION + ANEW : INSTRUCTION);
}

function match(pattern: RE2JS, text: string): boolean {
  const { dfa } = pattern.re2();
  const { failed, cacheClears } = dfa;
  const isMatch = pattern.test(text);
  if (!failed && dfa.cacheClears > cacheClears) spend(text.length * pattern.re2().prog.numInst() * ANEW);
  return isMatch;
}

/** Caches parsed expressions by their text, so that each one is parsed and compiled only once. */
const known = new Map<string, Parsed<ReadExpression>>();
const MAX_KNOWN = 2_000;

/**
 * Parses an expression. Rejects expressions that are likely to be mistakes or that are too expensive: those with
 * unknown variables or functions, with no variables at all, with unanchored regular expressions or substring searches,
 * or with a compiled size above the limit.
 */
export function readExpression(text: string): Parsed<ReadExpression> {
  if (text.length > MAX_LENGTH) return refuse(`the expression is longer than ${MAX_LENGTH} characters`);
  const seen = known.get(text);
  if (seen) return seen;
  const read = parsed(text);
  if (known.size >= MAX_KNOWN) known.clear();
  known.set(text, read);
  return read;
}

/** Parses and compiles an expression. */
export function parseExpression(text: string): Parsed<Expression> {
  const read = readExpression(text);
  return 'value' in read ? read.value.compile() : read;
}

function parsed(text: string): Parsed<ReadExpression> {
  try {
    const expression = parse(text);
    const [patterns, variables] = [new Set<string>(), new Set<string>()];
    const root = expression.expr as unknown as Node | undefined;
    const problem = root ? inspect(root, patterns, variables) : 'the expression is empty';
    if (problem) return refuse(problem);
    const sizes = [...patterns].map((pattern) => PATTERN + patternSize(pattern));
    let compiled: Parsed<Expression> | undefined;
    return {
      value: {
        size: sizes.reduce((sum, size) => sum + size, text.length),
        variables,
        compile: () => {
          compiled ??= compile(expression, patterns, root ? unitsOf(root) : 0);
          return compiled;
        },
      },
    };
  } catch (error) {
    return refuse(`not a valid CEL expression: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function compile(expression: ReturnType<typeof parse>, texts: ReadonlySet<string>, units: number): Parsed<Expression> {
  const patterns = new Map<string, RE2JS>();
  try {
    for (const text of texts) {
      const pattern = RE2JS.compile(text);
      const { dfa, prog } = pattern.re2();
      dfa.stateLimit = Math.min(MAX_STATES, Math.floor(MAX_KEPT / prog.numInst()));
      patterns.set(text, pattern);
    }
  } catch (error) {
    return refuse(`matches(): ${error instanceof Error ? error.message : String(error)}`);
  }
  const run = plan(environment, expression);
  return {
    value: { evaluate: withinBudget((attestation: Attestation) => evaluate(run, units, patterns, attestation)) },
  };
}

function evaluate(
  run: ReturnType<typeof plan>,
  units: number,
  patterns: ReadonlyMap<string, RE2JS>,
  attestation: Attestation,
): boolean | { readonly error: string } {
  const budget = { values: MAX_VALUES };
  // The library represents CEL errors as Error objects, and creates and discards them in every iteration of a loop.
  // Capturing stack traces for them would be slow.
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0;
  try {
    const { claims, issuer, subject, teams, workspace } = attestation;
    // Only GitHub logins identify a person. A login from any other issuer is part of an email address, such as `alice`
    // in alice@evil.example.
    const login = attestation.githubUser?.login;
    const known = { claims, issuer, subject, ...(login !== undefined && { login }), teams, workspace };
    const bindings = Object.fromEntries(Object.entries(known).map(([name, value]) => [name, toCel(value, budget)]));
    if (budget.values < 0) return { error: `the claims contain more than ${MAX_VALUES} values` };
    spend(units + (MAX_VALUES - budget.values) * MADE_READY);
    running = patterns;
    const result = run(bindings as Record<string, CelInput>);
    // Exceeding the budget only fails the part of the expression that exceeded it, and another part could mask that
    // error. Check the budget once more here.
    spend(0);
    if (typeof result === 'boolean') return result;
    return { error: isCelError(result) ? result.message : 'the expression does not return true or false' };
  } catch (error) {
    return { error: error instanceof Error ? error.message : String(error) };
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
  }
}

/**
 * Converts a value to CEL, including only own properties. Integers become `int`, because JSON does not distinguish
 * number types and authors write comparisons such as `== 1`.
 */
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

/** The subset of cel.expr.Expr (cel-spec, syntax.proto) that is used here. */
interface Node {
  readonly exprKind:
    | { readonly case: 'identExpr'; readonly value: { readonly name: string } }
    | {
        readonly case: 'constExpr';
        readonly value: { readonly constantKind: { readonly case?: string; readonly value?: unknown } };
      }
    | { readonly case: 'selectExpr'; readonly value: { readonly operand?: Node; readonly field: string } }
    | {
        readonly case: 'callExpr';
        readonly value: { function: string; readonly target?: Node; readonly args: (Node | undefined)[] };
      }
    | { readonly case: 'listExpr'; readonly value: { readonly elements: readonly Node[] } }
    | { readonly case: 'structExpr' }
    | {
        readonly case: 'comprehensionExpr';
        readonly value: Readonly<Record<'accuVar' | 'iterVar', string>> &
          Readonly<Record<'accuInit' | 'loopStep' | 'result', Node | undefined>> & {
            loopCondition: Node | undefined;
            iterRange: Node | undefined;
          };
      }
    | { readonly case: undefined };
}

type ValueOf<Case extends 'callExpr' | 'comprehensionExpr'> = Extract<Node['exprKind'], { case: Case }>['value'];

/**
 * Returns the first problem of an expression, or undefined if there is none. This also instruments the loops in the
 * expression, so that each iteration is charged.
 * @param patterns a set to which the expression's regular expressions are added
 * @param looked a set to which the variables used by the expression are added
 */
function inspect(root: Node, patterns: Set<string>, looked: Set<string>): string | undefined {
  const walk = (node: Node | undefined, bound: ReadonlySet<string>, loops: number): string | undefined => {
    const kind = node?.exprKind;
    switch (kind?.case) {
      case 'identExpr':
        return bound.has(kind.value.name) || TYPES.has(kind.value.name) ? undefined : variable(kind.value.name);
      case 'selectExpr':
        return walk(kind.value.operand, bound, loops);
      case 'listExpr':
        return first(kind.value.elements, (element) => walk(element, bound, loops));
      case 'callExpr': {
        const { target, args } = kind.value;
        return whyNoCall(kind.value, patterns) ?? first([target, ...args], (part) => walk(part, bound, loops));
      }
      case 'comprehensionExpr':
        return loop(kind.value, bound, loops);
      case 'structExpr':
        return 'maps and messages cannot be constructed here';
      default:
        return undefined;
    }
  };
  const variable = (name: string): string | undefined => {
    looked.add(name);
    return EXPRESSION_VARIABLES.some((known) => known === name)
      ? undefined
      : `unknown variable "${name}": the variables are ${EXPRESSION_VARIABLES.join(', ')}`;
  };
  const loop = (value: ValueOf<'comprehensionExpr'>, bound: ReadonlySet<string>, loops: number): string | undefined => {
    if (loops === MAX_LOOPS) return `more than ${MAX_LOOPS} nested loops (exists, all, map, filter)`;
    const { iterVar, accuVar, iterRange, accuInit, loopCondition, loopStep, result } = value;
    const inner = new Set([...bound, iterVar, accuVar]);
    const problem =
      first([iterRange, accuInit], (part) => walk(part, bound, loops)) ??
      first([loopCondition, loopStep, result], (part) => walk(part, inner, loops + 1));
    const units = unitsOf(loopCondition) + unitsOf(loopStep);
    value.loopCondition = parsedWith(`round(${units}) && true`, ROUND, loopCondition);
    value.iterRange = parsedWith('round(true)', RANGE, iterRange);
    return problem;
  };
  return (
    walk(root, new Set(), 0) ??
    (looked.size > 0 ? undefined : 'the expression uses no variables, so it is true for everyone or for no one')
  );
}

function whyNoCall({ function: name, args }: ValueOf<'callExpr'>, patterns: Set<string>): string | undefined {
  if (!OPERATORS.has(name) && !environment.funcs.find(name)) return `unknown function "${name}"`;
  return name === 'matches' || name === 'contains' ? unanchored(name, args.at(-1), patterns) : undefined;
}

/** Parses an expression, renames its function to `name`, and replaces `true` with `node`. */
function parsedWith(text: string, name: string, node: Node | undefined): Node {
  const root = parse(text).expr as unknown as Node;
  const outer = callOf(root);
  const inner = outer.function === 'round' ? outer : callOf(outer.args[0]!);
  inner.function = name;
  outer.args[outer.args.length - 1] = node;
  return root;
}

function callOf(node: Node): ValueOf<'callExpr'> {
  return (node.exprKind as Extract<Node['exprKind'], { case: 'callExpr' }>).value;
}

/**
 * Returns the cost of evaluating every part of an expression once, in work units. Loop iterations and function operands
 * are not included.
 */
function unitsOf(node: Node | undefined): number {
  const kind = node?.exprKind;
  const sum = (parts: readonly (Node | undefined)[]) => parts.reduce((units, part) => units + unitsOf(part), PART);
  switch (kind?.case) {
    case 'selectExpr':
      return sum([kind.value.operand]) + MEMBER + pathLength(node);
    case 'listExpr':
      return sum(kind.value.elements);
    case 'callExpr':
      return (
        sum([kind.value.target, ...kind.value.args]) + (kind.value.function === '_[_]' ? MEMBER + pathLength(node) : 0)
      );
    case 'comprehensionExpr':
      return sum([kind.value.iterRange, kind.value.accuInit, kind.value.result]);
    default:
      return PART;
  }
}

/** Returns the length of a path such as `a.b.c`. The evaluator tries to look up each of its prefixes as a variable. */
function pathLength(node: Node | undefined): number {
  const kind = node?.exprKind;
  if (kind?.case === 'selectExpr') return pathLength(kind.value.operand) + kind.value.field.length + 1;
  if (kind?.case === 'callExpr' && kind.value.function === '_[_]') {
    const [operand, index] = kind.value.args;
    const text = index?.exprKind.case === 'constExpr' ? index.exprKind.value.constantKind.value : '';
    return pathLength(operand) + String(text).length + 1;
  }
  return kind?.case === 'identExpr' ? kind.value.name.length : 0;
}

/**
 * Rejects searches within a string. For example, a search for `@acme.com` also finds it in `x@acme.com.evil.example`.
 */
function unanchored(
  name: 'matches' | 'contains',
  argument: Node | undefined,
  patterns: Set<string>,
): string | undefined {
  if (name === 'contains') return 'contains() is not anchored: use ==, startsWith, endsWith or exists';
  const constant = argument?.exprKind.case === 'constExpr' ? argument.exprKind.value.constantKind.value : undefined;
  if (typeof constant !== 'string') return 'matches() requires its pattern as a string literal';
  if (!isAnchored(constant)) return 'matches() is not anchored: start with ^, end with $, and put alternatives in ( )';
  const size = patternSize(constant);
  if (size > MAX_PATTERN)
    return (
      `matches() compiles to ${size} steps, and the maximum is ${MAX_PATTERN}: {n} repeats the preceding part n times. ` +
      'Shorten the repetition, or use startsWith, endsWith and size'
    );
  patterns.add(constant);
  return undefined;
}

/**
 * Whether a pattern has the form `^...$`. Alternatives outside a group are rejected, because each of them would only be
 * anchored on one side.
 */
function isAnchored(pattern: string): boolean {
  if (!pattern.startsWith('^') || !/(?:^|[^\\])(?:\\\\)*\$$/.test(pattern) || pattern.startsWith('^*')) return false;
  // Escaped characters and character classes are treated as plain letters here. Quoting text with \Q...\E is not
  // supported.
  if (/^(?:[^\\]|\\[^Q])*\\Q/.test(pattern)) return false;
  const bare = pattern.replace(/\\[\s\S]?/g, 'a').replace(/\[\^?\]?[^\]]*\]?/g, 'a');
  // The (?m) flag makes ^ and $ match at line boundaries.
  if (/\(\?(?!:)/.test(bare)) return false;
  let depth = 0;
  for (const character of bare) {
    if (character === '|' && depth === 0) return false;
    if (character === '(') depth++;
    if (character === ')') depth--;
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
