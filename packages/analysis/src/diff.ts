/** Compares two states of a mesh by the calls that they allow: exactly, with an example of each difference. */
export { type Change, type CompareOptions, type Comparison, compareMeaning, formatChange } from './diff/compare.ts';
export { type Endpoint, formatWhere } from './diff/endpoint.ts';
export type { Call } from './diff/formula/call.ts';
