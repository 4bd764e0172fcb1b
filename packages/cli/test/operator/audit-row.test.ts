import type { SealedRow } from '@meshpass/broker/audit/log/chain';
import { expect, test } from 'vitest';
import { formatAuditRow } from '../../src/commands/audit/log.ts';

const ROW: SealedRow = {
  seq: 7,
  previous: '0'.repeat(64),
  hash: '1'.repeat(64),
  id: 'decision',
  time: '2026-01-01T00:00:00.000Z',
  action: 'request',
  outcome: 'refused',
  code: 'agent_policy_refused',
  reason: 'The workspace says so.',
  subject: 'github:1',
  login: 'alice',
  issuer: 'github',
  session_id: 'abc',
  workspace: 'codespace:1',
  grant_name: 'dev',
  rule: 'dev access.yaml:1:1',
  target: 'orders.shop.svc.cluster.local:8080',
  proof_hash: null,
  source: '203.0.113.10',
  request_id: 'ec48caa8',
  detail: '{}',
};

test('a refusal that a workspace reports is found by the request that its answer names', () => {
  expect(formatAuditRow(ROW)).toContain('session abc  request ec48caa8  [agent_policy_refused]');
});

test('no id of a request to the broker itself is shown', () => {
  expect(formatAuditRow({ ...ROW, action: 'token.issue' })).not.toContain('ec48caa8');
});
