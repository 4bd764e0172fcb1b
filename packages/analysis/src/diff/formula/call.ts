/** One concrete call: the example that a difference is proven with, and what a formula is asked about. */

import { readRange } from './address-classes.ts';
import type { Condition } from './condition.ts';
import { isMany } from './condition.ts';
import { passes } from './text-test.ts';

export interface Call {
  /** Fields that are set; a flag that is not listed is false. Fields with several values have a list. */
  readonly flags: ReadonlySet<string>;
  readonly texts: ReadonlyMap<string, string>;
  readonly lists: ReadonlyMap<string, readonly string[]>;
  readonly addresses: ReadonlyMap<string, string>;
}

/** Whether a call meets a formula, by looking at it directly: what the diagrams are tested against. */
export function meets(call: Call, condition: Condition): boolean {
  switch (condition.op) {
    case 'constant':
      return condition.value;
    case 'all':
      return condition.of.every((one) => meets(call, one));
    case 'any':
      return condition.of.some((one) => meets(call, one));
    case 'not':
      return !meets(call, condition.of);
    case 'flag':
      return call.flags.has(condition.field);
    case 'text': {
      const { field, test } = condition;
      if (isMany(field)) return (call.lists.get(field) ?? []).some((value) => passes(test, value));
      return passes(test, call.texts.get(field));
    }
    case 'address': {
      const address = readRange(call.addresses.get(condition.field) ?? '');
      const range = readRange(condition.range);
      return !!address && !!range && range.first <= address.first && address.first <= range.last;
    }
  }
}
