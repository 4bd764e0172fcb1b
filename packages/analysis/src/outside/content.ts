import type { Condition } from '../diff/formula/condition.ts';

/** Creates a function that numbers formulas by their content. Formulas that have the same number are equal. */
export function createConditionNumbering(): (condition: Condition) => number {
  const numbers = new Map<string, number>();
  const known = new WeakMap<Condition, number>();
  const numberOf = (condition: Condition): number => {
    let number = known.get(condition);
    if (number === undefined) {
      const text = textOf(condition);
      number = numbers.get(text) ?? numbers.size;
      numbers.set(text, number);
      known.set(condition, number);
    }
    return number;
  };
  const textOf = (condition: Condition): string => {
    switch (condition.op) {
      case 'all':
      case 'any':
        return `${condition.op} ${condition.of.map(numberOf).join()}`;
      case 'not':
        return `not ${numberOf(condition.of)}`;
      default:
        return JSON.stringify(condition);
    }
  };
  return numberOf;
}
