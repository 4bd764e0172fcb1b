/** Decisions and the audit log: recording, proof, export and restore. */

// The log of the active broker.

export type { CheckpointSink } from './checkpoint/sink.ts';
export { type AuditLog, openClosedLog, startAuditLog } from './start.ts';
export { AuditPage } from './trail.ts';

// Decisions.

export {
  type AuditContext,
  granted,
  isWithheld,
  type Outcome,
  prepareGrant,
  recordGrant,
  recordRefusal,
  refused,
} from './log/decision.ts';

// Events and rows.

export {
  type Action,
  type AuditEvent,
  type AuditRow,
  auditRow,
  identityMembers,
  newEvent,
  type Origin,
} from './log/event.ts';

// Durable writes.

export type { Journal } from './log/journal.ts';
export type { Changes, Proof } from './log/unit.ts';
export { untilStored, writeCounted } from './log/until-stored.ts';
