/**
 * Schema of an empty store. After the first release with it, every change is a migration (migrate.ts), and these
 * statements stay unchanged.
 */
import { createTables, type Row } from './columns.ts';
import { ACCESS_TABLES } from './tables/access.ts';
import { APPROVAL_INDEXES, APPROVAL_TABLES } from './tables/approvals.ts';
import { AUDIT_GUARDS, AUDIT_TABLES } from './tables/audit.ts';
import { BROKER_TABLES, FIRST_EPOCH } from './tables/brokers.ts';
import { PROOF_INDEXES, PROOF_TABLES } from './tables/proofs.ts';
import { SESSION_INDEXES, SESSION_TABLES } from './tables/sessions.ts';

const TABLES = {
  ...SESSION_TABLES,
  ...PROOF_TABLES,
  ...AUDIT_TABLES,
  ...ACCESS_TABLES,
  ...APPROVAL_TABLES,
  ...BROKER_TABLES,
};

/** Row types by table, for Kysely. */
export type Tables = { [Name in keyof typeof TABLES]: Row<(typeof TABLES)[Name]> };

/** All statements in order. */
export const SCHEMA: readonly string[] = [
  ...createTables(TABLES),
  ...SESSION_INDEXES,
  ...PROOF_INDEXES,
  ...AUDIT_GUARDS,
  ...APPROVAL_INDEXES,
  ...FIRST_EPOCH,
];
