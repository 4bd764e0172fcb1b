/** What a journal is given when a session opens, with its audit row: of nobody, for tests of the store. */
import { randomBytes } from 'node:crypto';
import { auditRow, newEvent } from '../../src/audit/log/event.ts';
import type { Entry } from '../../src/audit/log/journal.ts';

/** @param id of the session; its token hash is the same @param workspace its key */
export function openingOf(id: string, workspace = id) {
  const at = new Date().toISOString();
  const session = {
    ...{ id, token_hash: id, jkt: 'jkt', attestor: 'oidc', issuer: 'idp', subject: 'idp:alice', login: 'alice' },
    ...{ workspace_key: workspace, workspace_name: id, attestation: '{}', grants: '[]', opened_at: at, expires_at: at },
    ...{ closed_at: null, close_cause: null },
  };
  return { opened: { session, principals: [] }, audit: [openingRow(id)] } satisfies Entry;
}

export function openingRow(id: string) {
  const event = { ...newEvent('session.open', {}, Date.now, randomBytes), sessionId: id };
  return auditRow(event, 'allowed', 'for the test', undefined, Date.now());
}
