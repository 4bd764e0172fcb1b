/** Changes that open a session of an invented person, with its audit row, for tests of the store. */
import { randomBytes } from 'node:crypto';
import { auditRow, createAuditEvent } from '../../src/audit/log/event.ts';
import type { CollectChanges } from '../../src/audit/log/unit.ts';
import { OPEN_SESSIONS } from '../../src/core/session-sql.ts';

/** @param id of the session; its token hash is the same @param workspace its key */
export function openingOf(id: string, workspace = id): CollectChanges {
  const at = new Date().toISOString();
  const session = {
    id,
    token_hash: id,
    jkt: 'jkt',
    issuer: 'idp',
    subject: 'idp:alice',
    login: 'alice',
    workspace_key: workspace,
    attestation: '{}',
    opened_at: at,
    closed_at: null,
    close_cause: null,
  };
  return (tx) => {
    tx.write(OPEN_SESSIONS, session);
    tx.audit(openingRow(id));
  };
}

export function openingRow(id: string) {
  const event = { ...createAuditEvent('session.open', {}, Date.now, randomBytes), sessionId: id };
  return auditRow(event, 'allowed', 'for the test', undefined, Date.now());
}
