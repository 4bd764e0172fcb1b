/** Lists the entry points of a cluster and the identity that each of them requires, and prints reports about them. */
export type { Enforcer } from './exposure/enforcer.ts';
export type { EntryKind, Identity } from './exposure/exposure.ts';
export { type ExposureEntry, type ExposureOptions, listExposures } from './exposure/list.ts';
export { printExposureHtml } from './exposure/report/html.ts';
export { printExposureJson } from './exposure/report/json.ts';
export { printExposureMarkdown } from './exposure/report/markdown.ts';
export { type Access, type ExposureReport, reportOf } from './exposure/report/report.ts';
export { printExposureSarif } from './exposure/report/sarif.ts';
export { printExposureTable, type TableOptions } from './exposure/report/table.ts';
export { type UnusedAccess, type UsageReader, usageOf } from './exposure/report/unused.ts';
export type { LoggedMesh, RuleWithoutUse } from './exposure/report/unused-rules.ts';
export type { WitnessRequest } from './exposure/witness.ts';
