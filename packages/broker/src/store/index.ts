/** The database: schema, batched statements, and election of the active broker. */

// The open store.

export { type Db, openStore, type Store } from './open.ts';
export type { Tables } from './schema.ts';
export { toStorableText } from './storable.ts';

// Statements for repositories.

export { FencedError, LOCK_EPOCH } from './open.ts';
export {
  type AnyStatement,
  assertRowCount,
  type Statement,
  type Step,
  statement,
  toStep,
  UnexpectedRows,
} from './statement.ts';

// The active broker.

export { type ActiveState, createActiveState } from './active-state.ts';
export type { AppliedRow, InForceRow, StoredAccess } from './leader-election.ts';
export { leadershipUnknownError, queryStore, supersededError } from './leader-guard.ts';
export type { LeaderRecord, SharedSettings } from './leader-record.ts';

// Session close causes.

export { CLOSE_EXPLANATIONS, type CloseCause } from './close-causes.ts';
