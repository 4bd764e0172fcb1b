/**
 * All calls, as the rules of some formulas can tell them apart: fields with numbered classes of values, and the diagram in
 * which sets of calls are built. A field with several values becomes one yes-or-no field for each class of a value.
 */
import { type AddressClasses, classifyAddresses } from './address-classes.ts';
import type { Call } from './call.ts';
import { type Condition, isMany, type Test, type TextField, testsOf } from './condition.ts';
import { type ClassSet, Diagram, EVERY, NONE, type Node, type Product } from './diagram.ts';
import { classify, type TextClasses } from './text-classes.ts';
import type { TextDomain } from './text-test.ts';
import { formatText, type TextTest } from './text-test.ts';

export interface Space {
  readonly diagram: Diagram;
  /** The set of calls that meet a formula. Only formulas whose tests the space was made of. */
  readonly set: (condition: Condition) => Node;
  /** Calls in which a field has the value, or one that no rule can tell from it. */
  readonly withText: (field: TextField, value: string) => Node;
  /** The fields of a product, in the order of the diagram, with what may stand there. */
  readonly explain: (product: Product) => readonly Explained[];
  /** One call of a product. */
  readonly example: (product: Product) => Call;
  /** Whether a concrete call is in a set. */
  readonly has: (set: Node, call: Call) => boolean;
}

export type Explained =
  | { readonly kind: 'flag'; readonly field: string; readonly value: boolean }
  /** `values` as policies write them; `except` says that everything else is meant. */
  | {
      readonly kind: 'text' | 'address';
      readonly field: string;
      readonly values: readonly string[];
      readonly except: boolean;
      readonly missing: boolean;
    }
  /** A value among several. */
  | { readonly kind: 'member'; readonly field: string; readonly value: string; readonly has: boolean };

const LETTERS = 'xyzwvutsrqponmlkjihgfedcba0123456789';
const PLAIN: TextDomain = { start: '', alphabet: `${LETTERS}-_~`, optional: false };
const DOMAINS: Readonly<Record<string, TextDomain>> = {
  path: { start: '/', alphabet: `${LETTERS}${LETTERS.toUpperCase().slice(0, 26)}-_~!$,;`, optional: false },
  method: { start: '', usual: 'GET', alphabet: 'XYZWVUTSRQPONMLKJIHGFEDCBA', optional: false },
  'connection.sni': { ...PLAIN, optional: true },
  'token.issuer': { ...PLAIN, optional: true },
  'token.subject': { ...PLAIN, optional: true },
};

/** Order of the fields in the diagram: who first, because rules speak of few callers each. */
const ORDER = [
  'peer',
  'peer.namespace',
  'connection.sni',
  'peer.account',
  'peer.trustDomain',
  'source.ip',
  'token.issuer',
];

type Variable =
  | { readonly kind: 'flag'; readonly field: string }
  | {
      readonly kind: 'text';
      readonly field: string;
      readonly classes: TextClasses;
      readonly tests: readonly TextTest[];
    }
  | { readonly kind: 'member'; readonly field: string; readonly example: string; readonly label: string }
  | {
      readonly kind: 'address';
      readonly field: string;
      readonly classes: AddressClasses;
      readonly ranges: readonly string[];
    };

/** @throws MeshpassError `policy_too_large` */
export function createSpace(conditions: readonly Condition[]): Space {
  const byField = collect(conditions);
  const diagram = new Diagram();
  const variables: Variable[] = [];
  const numbers = new Map<string, number>();
  const members = new Map<string, { readonly classes: TextClasses; readonly first: number }>();
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
      const classes = classify(distinct, domainOf(field));
      if (!isMany(field as TextField)) variables.push({ kind: 'text', field, classes, tests: distinct });
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
    const { classes } = variable as Extract<Variable, { kind: 'text' }>;
    return diagram.among(number, classes.passing(test.test), classes.examples.length);
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
    return diagram.among(number, [variable.classes.classOf(value)], variable.classes.examples.length);
  };

  const explain = (product: Product): Explained[] => {
    const said = [...product].sort(([a], [b]) => a - b);
    return said.map(([number, chosen]): Explained => explainOne(variables[number]!, chosen));
  };

  const example = (product: Product): Call => {
    const flags = new Set<string>();
    const texts = new Map<string, string>();
    const lists = new Map<string, string[]>();
    const addresses = new Map<string, string>();
    variables.forEach((variable, number) => {
      const chosen = product.get(number);
      // Where it makes no difference, the peer is one that mutual TLS has proven, and what may be missing is.
      const free = variable.kind === 'flag' && variable.field === 'peer' ? 1 : missingOf(variable);
      const pick = chosen ? pickFrom(chosen) : free;
      if (variable.kind === 'flag') {
        if (pick === 1) flags.add(variable.field);
      } else if (variable.kind === 'address') addresses.set(variable.field, variable.classes.examples[pick]!);
      else if (variable.kind === 'text') {
        const value = variable.classes.examples[pick];
        if (value !== undefined) texts.set(variable.field, value);
      } else if (pick === 1) lists.set(variable.field, [...(lists.get(variable.field) ?? []), variable.example]);
    });
    return { flags, texts, lists, addresses };
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
    explain,
    example,
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
  return field.startsWith('header:') || field.startsWith('metadata:') ? { ...PLAIN, optional: true } : PLAIN;
}

/** Class of the missing value, or 0. */
function missingOf(variable: Variable): number {
  if (variable.kind !== 'text') return 0;
  return Math.max(0, variable.classes.examples.indexOf(undefined));
}

function pickFrom({ classes, rest }: ClassSet): number {
  if (!rest) return Math.min(...classes);
  let one = 0;
  while (classes.has(one)) one++;
  return one;
}

function explainOne(variable: Variable, { classes, rest }: ClassSet): Explained {
  const { kind, field } = variable;
  if (kind === 'flag') return { kind, field, value: classes.has(1) !== rest };
  if (kind === 'member') return { kind, field, value: variable.label, has: classes.has(1) !== rest };
  const { examples } = variable.classes;
  const names = namesOf(variable);
  const missingClass = kind === 'text' ? (examples as readonly (string | undefined)[]).indexOf(undefined) : -1;
  const missing = classes.has(missingClass) !== rest && missingClass >= 0;
  const listed = new Set([...classes].filter((one) => one !== missingClass));
  const others = () => new Set([...examples.keys()].filter((one) => !listed.has(one) && one !== missingClass));
  // As it stands, and where no names are wide enough for that, the other way round.
  for (const except of [rest, !rest]) {
    const covered = cover(except === rest ? listed : others(), names);
    if (covered.complete) return { kind, field, values: covered.names, except, missing };
  }
  const values = [...(rest ? others() : listed)].slice(0, 5).map((one) => examples[one]!);
  return { kind, field, values, except: false, missing };
}

interface Named {
  readonly name: string;
  readonly passing: readonly number[];
}

const namesKnown = new WeakMap<Variable, readonly Named[]>();

/** What policies call the classes of a field, widest first. */
function namesOf(variable: Extract<Variable, { kind: 'text' | 'address' }>): readonly Named[] {
  let names = namesKnown.get(variable);
  if (!names) {
    const all: Named[] =
      variable.kind === 'text'
        ? variable.tests.map((test) => ({ name: formatText(test), passing: variable.classes.passing(test) }))
        : variable.ranges.map((range) => ({ name: range, passing: variable.classes.passing(range) }));
    names = all.filter(({ passing }) => passing.length > 0).sort((a, b) => b.passing.length - a.passing.length);
    namesKnown.set(variable, names);
  }
  return names;
}

/** The fewest names that together mean just these classes, widest first. */
function cover(classes: ReadonlySet<number>, names: readonly Named[]) {
  const left = new Set(classes);
  const chosen: string[] = [];
  for (const { name, passing } of names) {
    if (left.size === 0) break;
    if (!passing.every((one) => classes.has(one)) || !passing.some((one) => left.has(one))) continue;
    chosen.push(name);
    for (const one of passing) left.delete(one);
  }
  return { names: chosen, complete: left.size === 0 };
}

/** A class of texts that no exact test names, as the tests that it passes. */
function labelOf(classes: TextClasses, tests: readonly TextTest[], number: number): string {
  const passed = tests.filter((test) => classes.passing(test).includes(number)).map(formatText);
  return passed.length > 0 ? passed.join(' and ') : 'anything else';
}
