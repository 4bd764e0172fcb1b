/** Records decisions in the audit log, and verifies, exports and restores the log. */

// The log of the active broker.

export type { CheckpointSink } from './checkpoint/sink.ts';
export { type AuditLog, openReadOnlyLog, startAuditLog } from './start.ts';
export { AuditQuery } from './trail.ts';

// Recording whether requests were allowed or refused.

export {
  type AuditContext,
  prepareAllowed,
  recordAllowed,
  recordRefusal,
} from './log/decision.ts';

// Audit events and the rows that record them.

export {
  type AuditAction,
  type AuditEvent,
  type AuditRow,
  annotateEvent,
  auditRow,
  createAuditEvent,
  identityMembers,
  type Origin,
} from './log/event.ts';

// Durable writes.

export type { Journal } from './log/journal.ts';
export { retryUntilStored, writeCountedRefusals } from './log/retry-until-stored.ts';
export type { CollectChanges, ReplayKey } from './log/unit.ts';
