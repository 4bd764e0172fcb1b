/**
 * Approximates and evaluates formulas that contain opaque flags, which stand for tests that formulas cannot express.
 * Opaque flags can only be compared for equality, because their meaning is unknown.
 */
import { type Call, meets } from '../diff/formula/call.ts';
import { ALWAYS, all, any, type Condition, NEVER, not, opaqueReason } from '../diff/formula/condition.ts';

/**
 * Replaces the opaque parts of a formula so that it matches either as few or as many calls as possible.
 * @param possible whether to include calls that may or may not match the formula
 */
export function approximateCondition(condition: Condition, possible: boolean): Condition {
  const known = new Map<Condition, [Condition | undefined, Condition | undefined]>();
  const visit = (part: Condition, upper: boolean): Condition => {
    const results = known.get(part) ?? [undefined, undefined];
    known.set(part, results);
    results[Number(upper)] ??= replaced(part, upper);
    return results[Number(upper)]!;
  };
  const replaced = (part: Condition, upper: boolean): Condition => {
    switch (part.op) {
      case 'all':
        return all(part.of.map((one) => visit(one, upper)));
      case 'any':
        return any(part.of.map((one) => visit(one, upper)));
      case 'not':
        return not(visit(part.of, !upper));
      case 'flag':
        return opaqueReason(part.field) !== undefined ? (upper ? ALWAYS : NEVER) : part;
      default:
        return part;
    }
  };
  return visit(condition, possible);
}

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
