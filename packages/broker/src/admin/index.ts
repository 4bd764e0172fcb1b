/** Operators, approvals and access file changes. */

// Administration of the active broker.

export { PolicyAuthors } from './policy/author.ts';
export type { AdminParts } from './process.ts';
export { startAdmin } from './start.ts';

// The access file that a starting broker uses.

export {
  createStoredAccessReader,
  parseAppliedAccess,
  readNewestVersion,
  readStoredAccess,
} from './policy/stored-access.ts';
