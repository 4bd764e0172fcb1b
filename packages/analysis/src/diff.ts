/**
 * Compares two mesh states by the calls that they allow. The result is exact and includes an example for each
 * difference.
 */
export { type Change, type CompareOptions, type Comparison, compareMeaning, formatChange } from './diff/compare.ts';
export { type Endpoint, formatWhere } from './diff/endpoint.ts';
export type { Call } from './diff/formula/call.ts';
export {
  compareOutside,
  formatOutsideChange,
  type OutsideChange,
  type OutsideComparison,
  type OutsideOptions,
} from './outside/compare.ts';
export type { OutsideDecision } from './outside/outside.ts';
