/** Envoy configuration as data: its types, and the parts of it that a workspace accepts. */

export { AGENT_CLUSTER, AGENT_CONFIG_SOURCE } from './agent-source.ts';
export { checkConfiguration, readConfiguration } from './check.ts';
export type { ExpectedValues, LeftOut, Refusal, WorkspaceConfiguration } from './configuration.ts';
export { reduceResource } from './reduce.ts';
export * from './types.ts';
