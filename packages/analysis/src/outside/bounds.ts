/** Computes the lower and upper bounds of formulas that contain opaque parts. */
import { ALWAYS, all, any, type Condition, NEVER, not } from '../diff/formula/condition.ts';

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
        return part.field.startsWith('opaque:') ? (upper ? ALWAYS : NEVER) : part;
      default:
        return part;
    }
  };
  return visit(condition, possible);
}
