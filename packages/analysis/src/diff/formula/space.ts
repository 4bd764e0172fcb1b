/**
 * Represents the space of all calls that a set of formulas can tell apart. It consists of the fields, whose values are
 * divided into numbered classes, and of the diagram that represents sets of calls. A field that may have more than one
 * value is represented by one boolean field for each class of values. A field that is tested at both ends is
 * represented by three fields (see text-ends.ts).
 */
import { classifyAddresses } from './address-classes.ts';
import type { Call } from './call.ts';
import { type Condition, isMultiValued, type Test, type TextField, testsOf } from './condition.ts';
import { Diagram, EVERY, NONE, type Node, type Product } from './diagram.ts';
import { explainProduct, type FieldExplanation, type Variable } from './explain.ts';
import { classifyTexts, type TextClasses } from './text-classes.ts';
import { classifyEnds, type TextEnds, UNNAMED } from './text-ends.ts';
import type { TextDomain } from './text-test.ts';
import { formatTextTest, type TextTest } from './text-test.ts';

export interface Space {
  readonly diagram: Diagram;
  /** Returns the calls that satisfy a formula. The formula must only contain tests that the space was created with. */
  readonly set: (condition: Condition) => Node;
  /**
   * Returns the calls in which a field has the given value, or any other value that rules cannot tell apart from it.
   */
  readonly withText: (field: TextField, value: string) => Node;
  /** Explains the fields of a product, in the order of the diagram. */
  readonly explain: (product: Product) => readonly FieldExplanation[];
  /** Returns an example of a call that belongs to the product. */
  readonly example: (product: Product) => Call;
  /** Whether a set of calls contains a given call. */
  readonly has: (set: Node, call: Call) => boolean;
}

const LETTERS = 'xyzwvutsrqponmlkjihgfedcba0123456789';
const PLAIN: TextDomain = { start: '', alphabet: `${LETTERS}-_~`, optional: false };
const DOMAINS: Readonly<Record<string, TextDomain>> = {
  path: { start: '/', alphabet: `${LETTERS}${LETTERS.toUpperCase().slice(0, 26)}-_~!$,;`, optional: false },
  method: { start: '', usual: 'GET', alphabet: 'XYZWVUTSRQPONMLKJIHGFEDCBA', optional: false },
  'connection.sni': { ...PLAIN, optional: true },
  'token.issuer': { ...PLAIN, optional: true },
  'token.subject': { ...PLAIN, optional: true },
};

/**
 * The fields that are tested at both ends. In server names, policies test the port at the start and the host at the
 * end.
 */
const BOTH_ENDS: ReadonlySet<string> = new Set(['connection.sni']);

/**
 * The order of the fields in the diagram. Fields about the caller come first, because each rule is only about a few
 * callers.
 */
const ORDER = [
  'peer',
  'peer.namespace',
  'connection.sni',
  'peer.account',
  'peer.trustDomain',
  'source.ip',
  'token.issuer',
];

/**
 * Creates the space of all calls that the formulas can tell apart.
 * @throws MeshpassError `policy_too_large`
 */
export function createSpace(conditions: readonly Condition[]): Space {
  const byField = collect(conditions);
  const diagram = new Diagram();
  const variables: Variable[] = [];
  const numbers = new Map<string, number>();
  const members = new Map<string, { readonly classes: TextClasses; readonly first: number }>();
  /**
   * The ends of texts, by the number of the variable for the whole text. The next two variables are the start and the
   * end.
   */
  const ends = new Map<number, TextEnds>();
  const rank = (field: string) => (ORDER.includes(field) ? ORDER.indexOf(field) : ORDER.length);
  const fields = [...byField.keys()].sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1));
  for (const field of fields) {
    const tests = byField.get(field)!;
    const [first] = tests;
    numbers.set(field, variables.length);
    if (first!.op === 'flag') variables.push({ kind: 'flag', field });
    else if (first!.op === 'address') {
      const ranges = [...new Set(tests.flatMap((test) => (test.op === 'address' ? [test.range] : [])))];
      variables.push({ kind: 'address', field, classes: classifyAddresses(ranges), ranges });
    } else {
      const asked = tests.flatMap((test) => (test.op === 'text' ? [test.test] : []));
      const distinct = [...new Map(asked.map((test) => [JSON.stringify(test), test])).values()];
      if (BOTH_ENDS.has(field)) {
        const texts = classifyEnds(distinct, domainOf(field));
        ends.set(variables.length, texts);
        const ofForm = (...forms: TextTest['form'][]) => distinct.filter(({ form }) => forms.includes(form));
        variables.push(
          { kind: 'text', field, classes: texts.whole, tests: ofForm('exact', 'present') },
          { kind: 'text', field, classes: texts.beginning, tests: ofForm('prefix') },
          { kind: 'text', field, classes: texts.end, tests: ofForm('suffix') },
        );
        continue;
      }
      const classes = classifyTexts(distinct, domainOf(field));
      if (!isMultiValued(field as TextField)) variables.push({ kind: 'text', field, classes, tests: distinct });
      else {
        members.set(field, { classes, first: variables.length });
        classes.examples.forEach((example = '', index) => {
          const label = distinct.find((test) => test.form === 'exact' && test.text === example);
          variables.push({
            kind: 'member',
            field,
            example,
            label: label ? example : labelOf(classes, distinct, index),
          });
        });
      }
    }
  }

  const amongTexts = (number: number, chosen: (classes: TextClasses) => readonly number[]): Node => {
    const { classes } = variables[number] as Extract<Variable, { kind: 'text' }>;
    return diagram.among(number, chosen(classes), classes.examples.length);
  };

  const ofTest = (test: Test): Node => {
    const number = numbers.get(test.field)!;
    if (test.op === 'flag') return diagram.among(number, [1], 2);
    const variable = variables[number]!;
    if (test.op === 'address') {
      const { classes } = variable as Extract<Variable, { kind: 'address' }>;
      return diagram.among(number, classes.passing(test.range), classes.examples.length);
    }
    const many = members.get(test.field);
    if (many)
      return diagram.orAll(many.classes.passing(test.test).map((one) => diagram.among(many.first + one, [1], 2)));
    const whole = amongTexts(number, ({ passing }) => passing(test.test));
    const { form } = test.test;
    if (!ends.has(number) || (form !== 'prefix' && form !== 'suffix')) return whole;
    const part = amongTexts(number + (form === 'prefix' ? 1 : 2), ({ passing }) => passing(test.test));
    const unnamed = amongTexts(number, () => [UNNAMED]);
    return diagram.or(whole, diagram.and(unnamed, part));
  };

  const known = new Map<Condition, Node>();
  const set = (condition: Condition): Node => {
    let node = known.get(condition);
    if (node === undefined) {
      node = build(condition);
      known.set(condition, node);
    }
    return node;
  };
  const build = (condition: Condition): Node => {
    switch (condition.op) {
      case 'constant':
        return condition.value ? EVERY : NONE;
      case 'all':
        return diagram.andAll(condition.of.map(set));
      case 'any':
        return diagram.orAll(condition.of.map(set));
      case 'not':
        return diagram.not(set(condition.of));
      default:
        return ofTest(condition);
    }
  };

  const withText = (field: TextField, value: string): Node => {
    const number = numbers.get(field);
    const variable = number === undefined ? undefined : variables[number];
    if (number === undefined || variable?.kind !== 'text') return EVERY;
    const same = (at: number) => amongTexts(at, ({ classOf }) => [classOf(value)]);
    if (!ends.has(number) || variable.classes.classOf(value) !== UNNAMED) return same(number);
    return diagram.andAll([same(number), same(number + 1), same(number + 2)]);
  };

  const classIn = (call: Call, number: number): number => {
    const variable = variables[number]!;
    if (variable.kind === 'flag') return call.flags.has(variable.field) ? 1 : 0;
    if (variable.kind === 'address') return variable.classes.classOf(call.addresses.get(variable.field) ?? '0.0.0.0');
    if (variable.kind === 'text') return variable.classes.classOf(call.texts.get(variable.field));
    const { classes, first } = members.get(variable.field)!;
    const values = call.lists.get(variable.field) ?? [];
    return values.some((value) => first + classes.classOf(value) === number) ? 1 : 0;
  };

  return {
    diagram,
    set,
    withText,
    explain: (product) => explainProduct(variables, product),
    example: (product) => exampleOf(variables, ends, product),
    has: (node, call) => diagram.has(node, (number) => classIn(call, number)),
  };
}

function collect(conditions: readonly Condition[]): Map<string, Test[]> {
  const byField = new Map<string, Test[]>();
  const seen = new Set<Condition>();
  for (const condition of conditions) {
    for (const test of testsOf(condition, seen)) {
      const tests = byField.get(test.field);
      if (tests) tests.push(test);
      else byField.set(test.field, [test]);
    }
  }
  return byField;
}

function domainOf(field: string): TextDomain {
  if (Object.hasOwn(DOMAINS, field)) return DOMAINS[field]!;
  return /^(?:header|metadata|query):/.test(field) ? { ...PLAIN, optional: true } : PLAIN;
}

/**
 * The ends of texts, by the number of the variable for the whole text. The next two variables are the start and the
 * end.
 */
type EndsOf = ReadonlyMap<number, TextEnds>;

function exampleOf(variables: readonly Variable[], ends: EndsOf, product: Product): Call {
  const flags = new Set<string>();
  const texts = new Map<string, string>();
  const lists = new Map<string, string[]>();
  const addresses = new Map<string, string>();
  for (const [number, variable] of variables.entries()) {
    const { field } = variable;
    const pick = pickAt(product, number, freeOf(variable));
    const text = variable.kind === 'text' ? textAt(variables, ends, product, number, pick) : undefined;
    if (text !== undefined) texts.set(field, text);
    if (variable.kind === 'address') addresses.set(field, variable.classes.examples[pick]!);
    if (variable.kind === 'flag' && pick === 1) flags.add(field);
    if (variable.kind === 'member' && pick === 1) lists.set(field, [...(lists.get(field) ?? []), variable.example]);
  }
  return { flags, texts, lists, addresses };
}

function textAt(
  variables: readonly Variable[],
  ends: EndsOf,
  product: Product,
  number: number,
  pick: number,
): string | undefined {
  const { field, classes } = variables[number] as Extract<Variable, { kind: 'text' }>;
  // The variables for the start and the end are handled together with the variable for the whole text.
  if (variables[number - 1]?.field === field) return undefined;
  const both = pick === UNNAMED ? ends.get(number) : undefined;
  return both ? both.compose(pickAt(product, number + 1), pickAt(product, number + 2)) : classes.examples[pick];
}

/**
 * Returns the class to use for a field that does not matter. By default, the peer is authenticated by mutual TLS and
 * optional values are missing.
 */
function freeOf(variable: Variable): number {
  return variable.kind === 'flag' && variable.field === 'peer' ? 1 : missingOf(variable);
}

/** Returns the class that represents a missing value, or 0 if the value is not optional. */
function missingOf(variable: Variable): number {
  if (variable.kind !== 'text') return 0;
  return Math.max(0, variable.classes.examples.indexOf(undefined));
}

/**
 * Returns one of the classes that a product allows for a field.
 * @param free the class to return if the product allows all of them
 */
function pickAt(product: Product, number: number, free = 0): number {
  const chosen = product.get(number);
  if (!chosen) return free;
  const { classes, rest } = chosen;
  if (!rest) return Math.min(...classes);
  let one = 0;
  while (classes.has(one)) one++;
  return one;
}

/** Describes a class by the tests that its values pass. */
function labelOf(classes: TextClasses, tests: readonly TextTest[], number: number): string {
  const passed = tests.filter((test) => classes.passing(test).includes(number)).map(formatTextTest);
  return passed.length > 0 ? passed.join(' and ') : 'anything else';
}
