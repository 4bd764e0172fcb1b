/** Creates requests for grants that need an approval. */
import { type Approval, approverEntry, isPerson } from '@meshpass/access';
import { describeApproval, describeEmergencyBounds } from '@meshpass/access/compile';
import { type Attestation, formatDuration, MeshpassError, plainText } from '@meshpass/identity';
import type { ApprovalRequestBody, RequestableGrant } from '@meshpass/identity/approval';
import { type AuditEvent, annotateEvent } from '../../audit/index.ts';
import { toUnixSeconds } from '../../base/index.ts';
import { grantsOf, type Live } from '../../core/index.ts';
import { emergencyBarReason } from './emergency.ts';
import type { ApprovalParts } from './parts.ts';
import { findMissingSignIn, identitiesOf } from './people.ts';
import { buildRequest, type GrantRequest, grantDurationSeconds, isOpenRequest } from './request.ts';

/** How many seconds a request may remain unanswered before it expires. */
const ANSWER_SECONDS = 4 * 3600;
/**
 * The maximum number of open requests per session, followed by the maximum number of pending requests per person and in
 * total.
 */
const MOST_OF_SESSION = 5;
const MOST_OF_PERSON = 20;
const MOST = 2_000;
/**
 * The maximum length of the list of approvers, in characters. Agents accept at most 4,096 characters for the whole
 * text.
 */
const NAMES_ROOM = 3_000;

/** Returns the grants that a session can request under the access file in force. */
export function requestableGrants(
  parts: ApprovalParts,
  live: Live,
  opensOf: (grant: string) => RequestableGrant['opens'],
): readonly RequestableGrant[] {
  const { mesh, authorize, clock } = parts;
  const { attestation } = live.session;
  const now = toUnixSeconds(clock);
  if (!mesh.inForce() || !isPerson(attestation, mesh.access(), now)) return [];
  const held = new Set(grantsOf(live.session));
  const { requestable } = authorize(attestation, mesh.access(), now);
  const why = emergencyBarReason(parts, attestation);
  const emergencyOf = ({ emergency }: Approval): RequestableGrant['emergency'] => {
    const { who } = emergency ?? {};
    if (!emergency || (who && approverEntry({ by: who }, attestation, mesh.access(), now) === undefined))
      return undefined;
    const hint = findMissingSignIn({ by: emergency.review }, identitiesOf(attestation), mesh.access().trust, 'review');
    const review = withHint(describeEmergencyBounds(emergency, NAMES_ROOM), hint);
    return { longest: emergency.for, review, ...(why !== undefined && { barred: why }) };
  };
  return requestable
    .filter(({ grant }) => !held.has(grant.name))
    .map(({ grant, approval }) => {
      const opens = opensOf(grant.name);
      const { emergency: _, ...asked } = approval;
      const hint = findMissingSignIn(approval, identitiesOf(attestation), mesh.access().trust);
      const described = withHint(describeApproval(asked, NAMES_ROOM), hint);
      const emergency = emergencyOf(approval);
      return {
        grant: grant.name,
        approval: described,
        ...(opens && { opens }),
        seconds: approval.for,
        longest: approval.max,
        reason_required: approval.reason === 'required',
        ...(emergency && { emergency }),
      };
    });
}

/** Appends a hint to the text. Agents reject line breaks, so multi-line expressions are joined into a single line. */
function withHint(text: string, hint: string | undefined): string {
  return plainText(text.replace(/\s+/g, ' ').trim()) + (hint === undefined ? '' : `. ${hint}`);
}

/**
 * Returns the approval that the access file in force requires before a person can have a grant.
 * @throws MeshpassError `approval_not_offered`
 */
export function requireApprovalOffer(
  { mesh, authorize, clock }: ApprovalParts,
  attestation: Attestation,
  name: string,
) {
  const { requestable } = authorize(attestation, mesh.access(), toUnixSeconds(clock));
  const found = requestable.find(({ grant }) => grant.name === name);
  if (found) return found.approval;
  throw new MeshpassError(
    'approval_not_offered',
    `The access file does not allow you to request the grant ${name}. Run meshpass requests to list the grants that you can request.`,
  );
}

/**
 * Records a new request. Calls for the same person must not overlap.
 * @throws MeshpassError `approval_not_offered`, `approval_open`, `approvals_too_many`, `request_malformed`,
 *   `store_unavailable`, `overloaded`
 */
export async function ask(
  parts: ApprovalParts,
  live: Live,
  order: ApprovalRequestBody,
  event: AuditEvent,
): Promise<GrantRequest> {
  const { mesh, clock, random } = parts;
  const { attestation, id: session } = live.session;
  const now = toUnixSeconds(clock);
  if (!isPerson(attestation, mesh.access(), now))
    throw new MeshpassError(
      'approval_not_offered',
      'Jobs and other workloads cannot request approvals. Sign in first (meshpass sign-in), or use a workspace that identifies you as a person.',
    );
  const approval = requireApprovalOffer(parts, attestation, order.grant);
  if (order.seconds !== undefined && order.seconds > approval.max)
    throw new MeshpassError(
      'request_malformed',
      `${order.grant} can be granted for at most ${formatDuration(approval.max)}, but you requested ${formatDuration(order.seconds)}.`,
    );
  if (approval.reason === 'required' && order.reason === undefined)
    throw new MeshpassError('request_malformed', `A request for ${order.grant} requires a reason: add --reason.`);
  refuseMany(parts, live, order.grant);
  const request = buildRequest(attestation, {
    id: random(12).toString('hex'),
    session,
    identities: identitiesOf(attestation),
    grant: order.grant,
    seconds: grantDurationSeconds(approval, order.seconds),
    reason: order.reason,
    asked_at: now,
    answer_by: now + ANSWER_SECONDS,
    needed: approval.count,
    state: 'pending',
  });
  const detail = { seconds: request.seconds, answer_by: request.answer_by };
  annotateEvent(event, { target: request.id, reason: order.reason ?? '', detail });
  return await parts.book.decide(event, request);
}

function refuseMany({ book }: ApprovalParts, { session }: Live, grant: string): void {
  const { issuer, subject } = session.attestation;
  const own = [...book.all()].filter((one) => one.session === session.id && isOpenRequest(one));
  // A person who has taken a grant in an emergency may still request it, in order to keep it for longer.
  const open = own.find((one) => one.grant === grant && !one.emergency);
  if (open)
    throw new MeshpassError(
      'approval_open',
      open.state === 'pending'
        ? `Your request ${open.id} for ${grant} is still waiting for an answer.`
        : `You already have ${grant} through request ${open.id}. Withdraw it, or request ${grant} again after it ends.`,
    );
  const pending = [...book.all()].filter(({ state }) => state === 'pending');
  const ofPerson = pending.filter(({ person }) => person.issuer === issuer && person.subject === subject);
  if (own.length >= MOST_OF_SESSION || ofPerson.length >= MOST_OF_PERSON || pending.length >= MOST)
    throw new MeshpassError('approvals_too_many', 'Too many requests are open. Withdraw one of yours, or wait.', {
      retryAfter: 60,
    });
}
