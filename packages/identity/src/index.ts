/**
 * Everything but the schemas of messages, which are in entry points of their own: they need zod, which takes longer to
 * load than all of this. A name is exported by one entry point only.
 */
export * from './address.ts';
export * from './attestation.ts';
export * from './certificates.ts';
export * from './documentation/url.ts';
export * from './dpop.ts';
export * from './error.ts';
export * from './hash.ts';
export * from './jws/es256.ts';
export * from './jws/json.ts';
export * from './limits/read-bounded.ts';
export * from './limits/replay.ts';
export * from './limits/source.ts';
export * from './limits/unauthenticated-connections.ts';
export * from './memory/memoize.ts';
export * from './presence.ts';
export * from './regex/program-size.ts';
export * from './service-address.ts';
export * from './socket-below.ts';
export * from './spiffe.ts';
export * from './text.ts';
export * from './tls-failure.ts';
export * from './version.ts';
