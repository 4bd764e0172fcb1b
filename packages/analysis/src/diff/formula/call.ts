/**
 * A concrete call, which serves as the example that proves a difference and as the input when a formula is evaluated.
 */

import { parseCidr } from '../../address.ts';
import type { Condition } from './condition.ts';
import { isMultiValued } from './condition.ts';
import { passesTest } from './text-test.ts';

export interface Call {
  /** The flags that are true. All other flags are false. */
  readonly flags: ReadonlySet<string>;
  readonly texts: ReadonlyMap<string, string>;
  readonly lists: ReadonlyMap<string, readonly string[]>;
  readonly addresses: ReadonlyMap<string, string>;
}

/** Evaluates a formula directly for a single call. Used in tests to verify the diagrams. */
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
      if (isMultiValued(field)) return (call.lists.get(field) ?? []).some((value) => passesTest(test, value));
      return passesTest(test, call.texts.get(field));
    }
    case 'address': {
      const address = parseCidr(call.addresses.get(condition.field) ?? '');
      const range = parseCidr(condition.range);
      return !!address && !!range && range.first <= address.first && address.first <= range.last;
    }
  }
}
