export * from './edge-wire.ts';
export * from './frames.ts';
export * from './jws.ts';
export * from './lease-proof.ts';
export * from './statement.ts';
