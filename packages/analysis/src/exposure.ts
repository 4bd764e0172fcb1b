/** Ways into the cluster, and the identity that each requires. */
export type { Enforcer } from './exposure/enforcer.ts';
export type { EntryKind, Identity } from './exposure/exposure.ts';
export { type ExposureEntry, type ExposureOptions, listExposures } from './exposure/list.ts';
export type { WitnessRequest } from './exposure/witness.ts';
