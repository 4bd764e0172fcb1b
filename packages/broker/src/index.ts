export * from './attest/attest.ts';
export type { AuditRow } from './audit/event.ts';
export * from './config.ts';
export type { Clock, Random } from './instant.ts';
export * from './log.ts';
export * from './mesh/contract.ts';
export * from './serve.ts';
export type { Feed, FeedListener } from './session/feed.ts';
export * from './token/signer.ts';
