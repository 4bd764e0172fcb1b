/** Messages that agents, edges and the broker exchange by way of an edge. */
export * from './edge-wire.ts';
export * from './frames.ts';
export * from './lease-proof.ts';
export * from './statement.ts';
