/** Provides the database: its schema, batched statements, and the election of the active broker. */

// Opens the store and describes its tables.

export { type Db, openStore, type Store, type StoreOptions } from './open.ts';
export type { Tables } from './schema.ts';

// Helpers for writing repository statements.

export { FencedError } from './open.ts';
export {
  type AnyStatement,
  type Statement,
  type Step,
  statement,
  toStep,
  toStorableText,
  UnexpectedRows,
} from './statement.ts';

// The active broker, and the brokers waiting to take over.

export { type ActiveState, createActiveState } from './active-state.ts';
export type { AppliedRow, InForceRow, StoredAccess } from './leader-election.ts';
export { leadershipUnknownError, queryStore, supersededError } from './leader-guard.ts';
export type { LeaderRecord, SharedSettings } from './leader-record.ts';

// The reasons why a session can end.

export { CLOSE_EXPLANATIONS, type CloseCause } from './close-causes.ts';
