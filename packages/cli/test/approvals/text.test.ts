/** Text of requests, emergencies and their reviews. */
import type { ApprovalRequest, RequestableGrant } from '@meshpass/identity/approval';
import { expect, it } from 'vitest';
import { formatApprovalsOverview, formatRequest, formatRequestableGrant } from '../../src/approvals/text.ts';

const AT = Date.UTC(2026, 10, 26, 3) / 1000;
const person = { issuer: 'github', subject: 'github:1', login: 'alice' };
const taken: ApprovalRequest = {
  id: 'a'.repeat(24),
  grant: 'prod',
  state: 'approved',
  session: 's',
  person,
  workspace: 'codespace:1',
  seconds: 1800,
  reason: 'INC-1',
  asked_at: AT,
  answer_by: AT,
  needed: 1,
  answers: [],
  until: AT + 1800,
  emergency: { state: 'open', review_by: AT + 86_400, reviews: [] },
};
const offer: RequestableGrant = {
  grant: 'prod',
  approval: 'approval by team acme/leads, at most 2h',
  seconds: 3600,
  longest: 7200,
  reason_required: true,
};

it('shows until when an emergency lasts and must be reviewed', () => {
  expect(formatRequest(taken)).toBe(
    `${taken.id}  prod for 30m, alice (github): granted in an emergency until 2026-11-26 03:30:00 UTC - INC-1\n` +
      '  awaiting review by another person until 2026-11-27 03:00:00 UTC',
  );
});

it('shows the reviewer and their comment', () => {
  const bob = { issuer: 'github', subject: 'github:2', login: 'bob', via: 'workspace', at: AT + 60, reason: 'why?' };
  const emergency = {
    ...taken.emergency!,
    state: 'objected' as const,
    reviews: [{ ...bob, decision: 'object' as const }],
  };
  expect(formatRequest({ ...taken, state: 'revoked', emergency })).toContain(
    'revoked - INC-1\n  objected to by bob (github) at 2026-11-26 03:01:00 UTC: why?',
  );
});

it('lists emergencies to review with the command for it', () => {
  expect(formatApprovalsOverview({ requestable: [], own: [], to_answer: [], to_review: [taken] })).toMatch(
    /^Emergencies to review \(meshpass review ID --accept, or --object\):\na{24} {2}prod/,
  );
});

it('explains why requests of others are missing', () => {
  const none = { requestable: [], own: [], to_answer: [], to_review: [] };
  const incomplete = "Other people's requests are not listed: GitHub does not answer.";
  expect(formatApprovalsOverview({ ...none, incomplete })).toBe(incomplete);
  expect(formatApprovalsOverview({ ...none, incomplete, requestable: [offer] })).toContain(
    `${incomplete}\nYou can request:`,
  );
  expect(formatApprovalsOverview(none)).toBe('No requests, and no grants you can request.');
  expect(formatApprovalsOverview(none, '#mesh')).toBe(
    'No requests, and no grants you can request. For access, ask #mesh.',
  );
});

it('shows the command for emergency access, or why it is refused now', () => {
  const review = 'at most 30m, reviewed within 24h by team acme/leads';
  expect(formatRequestableGrant({ ...offer, emergency: { longest: 1800, review } })).toContain(
    `in an emergency, without approval: ${review}: meshpass request prod --emergency --reason "WHY"`,
  );
  const barred = 'bob objected to your emergency.';
  expect(formatRequestableGrant({ ...offer, emergency: { longest: 1800, review, barred } })).toContain(
    `not now. ${barred}`,
  );
  expect(formatRequestableGrant(offer)).not.toContain('emergency');
});
