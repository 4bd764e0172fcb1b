/** The database: schema, statements in batches, and the election of the active broker. */

// The open store.

export { type Db, openStore, type Store } from './open.ts';
export type { Tables } from './schema.ts';
export { storable } from './storable.ts';

// Statements of repositories.

export { Fenced, LOCK_EPOCH } from './open.ts';
export {
  type AnyStatement,
  checkRows,
  type Statement,
  type Step,
  statement,
  stepOf,
  UnexpectedRows,
} from './statement.ts';

// The active broker.

export { type ActiveState, createActiveState } from './active-state.ts';
export type { AppliedRow, InForceRow, StoredAccess } from './leader-election.ts';
export { leadershipUnknown, storeSilent, superseded } from './leader-guard.ts';
export type { LeaderRecord, Shared } from './leader-record.ts';

// Session close causes.

export { CLOSED_BECAUSE, type CloseCause } from './close-causes.ts';
