/** Tells matches apart that no call can meet together, so that formulas of routes need not mention each other. */
import { remembered } from '@meshpass/identity/memory/remembered';
import type { Condition } from '../diff/formula/condition.ts';
import { passes, type TextTest } from '../diff/formula/text-test.ts';

/** Whether a call may meet both conditions, as far as exact texts and prefixes of single fields show. */
export function mayMeet(one: Condition, other: Condition): boolean {
  const [some, others] = [alternativesOf(one), alternativesOf(other)];
  return some.some((first) => others.some((second) => !areDisjoint(first, second)));
}

/** Text tests by field, all of which an alternative requires. */
type Required = ReadonlyMap<string, TextTest>;

const alternativesOf = remembered((condition: Condition): readonly Required[] =>
  (condition.op === 'any' ? condition.of : [condition]).map((one) => {
    const required = new Map<string, TextTest>();
    for (const part of one.op === 'all' ? one.of : [one]) {
      if (part.op === 'text' && !required.has(part.field)) required.set(part.field, part.test);
    }
    return required;
  }),
);

function areDisjoint(one: Required, other: Required): boolean {
  for (const [field, test] of one) {
    const against = other.get(field);
    if (against && (excludes(test, against) || excludes(against, test))) return true;
  }
  return false;
}

/** Whether no text that passes `wide` passes `narrow`, if `narrow` is an exact text, or both are prefixes. */
function excludes(wide: TextTest, narrow: TextTest): boolean {
  if (narrow.form === 'exact') return wide.form !== 'pattern' && !passes(wide, narrow.text);
  if (narrow.form !== 'prefix' || wide.form !== 'prefix') return false;
  return !narrow.text.startsWith(wide.text) && !wide.text.startsWith(narrow.text);
}
