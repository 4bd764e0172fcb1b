/** Envoy's configuration as data: its types, and what a workspace accepts of it. */
export * from './types.ts';
