/** Defines the variables that diagrams test, and explains products in policy notation. */
import { memoize } from '@meshpass/identity';
import type { AddressClasses } from './address-classes.ts';
import type { ClassSet, Product } from './diagram.ts';
import type { TextClasses } from './text-classes.ts';
import { formatTextTest, type TextTest } from './text-test.ts';

export type FieldExplanation =
  | { readonly kind: 'flag'; readonly field: string; readonly value: boolean }
  /**
   * The values that the field may have, in policy notation. If `except` is true, it may have any other value instead.
   */
  | {
      readonly kind: 'text' | 'address';
      readonly field: string;
      readonly values: readonly string[];
      readonly except: boolean;
      readonly missing: boolean;
    }
  /** Whether a field that can have more than one value includes a specific value. */
  | { readonly kind: 'member'; readonly field: string; readonly value: string; readonly has: boolean };

export type Variable =
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

/** Explains the fields of a product, in the order of the diagram. */
export function explainProduct(variables: readonly Variable[], product: Product): readonly FieldExplanation[] {
  const said = [...product].sort(([a], [b]) => a - b);
  const explained = said.map(([number, chosen]) => explainOne(variables[number]!, chosen));
  // An explanation of how a text starts or ends already implies that the text is present.
  return explained.filter((one, index) => {
    const more = explained.some(({ field }, other) => field === one.field && other > index);
    return !(more && isAnyText(one));
  });
}

function isAnyText(one: FieldExplanation): boolean {
  if (one.kind !== 'text' || one.missing) return false;
  return one.except ? one.values.length === 0 : one.values.includes('*');
}

function explainOne(variable: Variable, { classes, rest }: ClassSet): FieldExplanation {
  const { kind, field } = variable;
  if (kind === 'flag') return { kind, field, value: classes.has(1) !== rest };
  if (kind === 'member') return { kind, field, value: variable.label, has: classes.has(1) !== rest };
  const { examples } = variable.classes;
  const names = namesOf(variable);
  const missingClass = kind === 'text' ? (examples as readonly (string | undefined)[]).indexOf(undefined) : -1;
  const missing = classes.has(missingClass) !== rest && missingClass >= 0;
  const listed = new Set([...classes].filter((one) => one !== missingClass));
  const others = () => new Set([...examples.keys()].filter((one) => !listed.has(one) && one !== missingClass));
  // Prefer the product's own form. Use its complement only if no names add up to exactly the given classes.
  for (const except of [rest, !rest]) {
    const covered = cover(except === rest ? listed : others(), names);
    if (covered.complete) return { kind, field, values: covered.names, except, missing };
  }
  const wanted = rest ? others() : listed;
  const within = widerName(wanted, names);
  const values = within ? [within] : [`such as ${[...wanted].slice(0, 5).map((one) => examples[one])}`];
  return { kind, field, values, except: false, missing };
}

/**
 * Returns the narrowest name that covers all of the classes, followed by the names of any other classes that it covers.
 */
function widerName(classes: ReadonlySet<number>, names: readonly Named[]): string | undefined {
  for (const { name, passing } of names.toReversed()) {
    const besides = new Set(passing.filter((one) => !classes.has(one)));
    if (passing.length - besides.size < classes.size) continue;
    const covered = cover(besides, names);
    if (covered.complete) return `${name} but not ${covered.names.join(' or ')}`;
  }
  return undefined;
}

interface Named {
  readonly name: string;
  readonly passing: readonly number[];
}

/** Returns the names of a field's classes in policy notation, broadest first. */
const namesOf = memoize((variable: Extract<Variable, { kind: 'text' | 'address' }>): readonly Named[] => {
  const all: Named[] =
    variable.kind === 'text'
      ? variable.tests.map((test) => ({ name: formatTextTest(test), passing: variable.classes.passing(test) }))
      : variable.ranges.map((range) => ({ name: range, passing: variable.classes.passing(range) }));
  return all.filter(({ passing }) => passing.length > 0).sort((a, b) => b.passing.length - a.passing.length);
});

/** Selects names that together cover exactly the given classes, trying the broadest names first. */
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
