import type { Call } from '../../diff/formula/call.ts';
import { meets } from '../../diff/formula/call.ts';
import type { Condition } from '../../diff/formula/condition.ts';
import { reasonOf } from '../../routes/match-condition.ts';

/** Whether a call meets a formula, or why it is not known. */
export type Truth = boolean | { readonly unknown: string };

/**
 * Evaluates a formula whose opaque parts are not known.
 * @param unknownFields why the value of a field is not known, by the field
 */
export function truthOf(call: Call, condition: Condition, unknownFields: ReadonlyMap<string, string>): Truth {
  switch (condition.op) {
    case 'all':
      return combined(call, condition.of, false, unknownFields);
    case 'any':
      return combined(call, condition.of, true, unknownFields);
    case 'not': {
      const inner = truthOf(call, condition.of, unknownFields);
      return typeof inner === 'boolean' ? !inner : inner;
    }
    case 'constant':
      return condition.value;
    default: {
      const unknown = reasonOf(condition.field) ?? unknownFields.get(condition.field);
      return unknown === undefined ? meets(call, condition) : { unknown };
    }
  }
}

/** @param decisive value of a part that decides the whole */
function combined(
  call: Call,
  parts: readonly Condition[],
  decisive: boolean,
  unknownFields: ReadonlyMap<string, string>,
): Truth {
  let result: Truth = !decisive;
  for (const part of parts) {
    const one = truthOf(call, part, unknownFields);
    if (one === decisive) return decisive;
    if (typeof one !== 'boolean') result = one;
  }
  return result;
}
