export * from './attestation.ts';
export * from './documentation/url.ts';
export * from './dpop.ts';
export * from './error.ts';
export * from './presence.ts';
export * from './spiffe.ts';
export * from './wire.ts';
