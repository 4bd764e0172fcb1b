/**
 * Compares two states of a mesh by the calls that they allow. The comparison is exact, and every difference comes with
 * an example call.
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
