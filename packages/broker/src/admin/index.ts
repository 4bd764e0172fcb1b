/** Implements administration: operators, approvals and changes to the access file. */

// Starts administration on the active broker.

export { PolicyAuthors } from './policy/author.ts';
export type { AdminParts } from './process.ts';
export { startAdmin } from './start.ts';

// Finds the access file that a broker starts with.

export {
  createStoredAccessReader,
  parseAppliedAccess,
  readNewestVersion,
  readStoredAccess,
} from './policy/stored-access.ts';
