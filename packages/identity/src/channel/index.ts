export * from '../jws/es256.ts';
export * from './edge-wire.ts';
export * from './frames.ts';
export * from './lease-proof.ts';
export * from './statement.ts';
