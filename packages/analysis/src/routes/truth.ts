import { type Call, meets } from '../diff/formula/call.ts';
import type { Condition } from '../diff/formula/condition.ts';
import { opaqueReason } from './match-condition.ts';

type WhyUnknown = (field: string) => string | undefined;

/** The result of evaluating a formula for a call: true or false, or the reason why it is unknown. */
export type ThreeValued = boolean | { readonly unknown: string };

/**
 * Evaluates a formula for a call. The formula may contain opaque parts, whose results are unknown.
 * @param whyUnknown explains why the value of a field is unknown; returns undefined for known fields
 */
export function evaluateThreeValued(
  call: Call,
  condition: Condition,
  whyUnknown: WhyUnknown = () => undefined,
): ThreeValued {
  switch (condition.op) {
    case 'all':
      return combined(call, condition.of, false, whyUnknown);
    case 'any':
      return combined(call, condition.of, true, whyUnknown);
    case 'not': {
      const inner = evaluateThreeValued(call, condition.of, whyUnknown);
      return typeof inner === 'boolean' ? !inner : inner;
    }
    case 'constant':
      return condition.value;
    default: {
      const unknown = opaqueReason(condition.field) ?? whyUnknown(condition.field);
      return unknown === undefined ? meets(call, condition) : { unknown };
    }
  }
}

/**
 * Combines the results of all parts of a formula that joins them by "and" or "or".
 * @param decisive the result of a single part that decides the whole formula
 */
function combined(call: Call, parts: readonly Condition[], decisive: boolean, whyUnknown: WhyUnknown): ThreeValued {
  let result: ThreeValued = !decisive;
  for (const part of parts) {
    const one = evaluateThreeValued(call, part, whyUnknown);
    if (one === decisive) return decisive;
    if (typeof one !== 'boolean') result = one;
  }
  return result;
}
