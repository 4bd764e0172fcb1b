/** Answers a request: checks the approver and applies the decision. */
import { type Access, type Approval, approverEntry } from '@meshpass/access';
import { type Attestation, MeshpassError, toMeshpassError } from '@meshpass/identity';
import type { AnswerOrder } from '@meshpass/identity/approval';
import { askedOf } from '../../attest/index.ts';
import { type AuditEvent, type Outcome, refused } from '../../audit/index.ts';
import { seconds } from '../../base/index.ts';
import type { Live } from '../../core/index.ts';
import { askGithub } from './approvers.ts';
import type { Approver, Parts } from './parts.ts';
import { comparePeople, type Identity, identitiesOf, peopleOf, refuseOwn } from './people.ts';
import { notOffered, offered, unknown } from './refusals.ts';
import { type Answer, boundedSeconds, type Request } from './request.ts';
import { isUsed } from './rows.ts';

/**
 * Records an answer and its effect on the request. Calls for one request must not overlap.
 * @returns a refusal with `approval_unknown`, `approval_own`, `approval_not_comparable`, `approval_forbidden`,
 *   `approval_answered`, `approval_not_offered`, `issuer_unavailable` or `store_unavailable`
 */
export async function answer(
  parts: Parts,
  approver: Approver,
  order: AnswerOrder,
  asked: AuditEvent,
): Promise<Outcome<Request>> {
  const how = { decision: order.decision, via: approver.via };
  let event: AuditEvent = { ...asked, target: order.id, detail: { ...asked.detail, ...how } };
  try {
    const { request, live } = pending(parts, order.id);
    event = { ...event, grant: request.grant, detail: { ...event.detail, ...requester(request) } };
    const identities = identitiesOf(approver.attestation);
    refuseOwn(identitiesNow(parts, request), identities, parts.mesh.access().trust);
    const { approval, attestation, entry, earlier } = await whoApproves(parts, request, live, approver, order);
    const people = peopleOf(parts.live, parts.mesh.access().trust);
    for (const one of earlier) refuseTwice(one, people(one.identities), identities);
    const given = { decision: order.decision, via: approver.via, entry, identities, attestation, event: event.id };
    const next = answered({ ...request, answers: earlier }, approval.count, {
      ...given,
      issuer: attestation.issuer,
      subject: attestation.subject,
      login: attestation.login,
      seconds: boundedSeconds(approval, order.seconds ?? request.seconds),
      reason: order.reason,
      at: seconds(parts.clock),
    });
    const lost = request.answers.filter((one) => !earlier.includes(one)).map(({ login, event }) => ({ login, event }));
    const detail = { ...event.detail, entry, state: next.state, ...(lost.length > 0 && { lost }) };
    const decided = { ...event, reason: order.reason ?? '', detail };
    const { until: wanted } = next;
    if (wanted === undefined) return await parts.book.decide(decided, next, approver.replay);
    const gift = {
      cause: 'approved' as const,
      until: wanted,
      reason: `approved by ${next.answers.map(({ login }) => login).join(' and ')}`,
      detail: { request: next.id, decision: event.id },
    };
    return await parts.book.decideWith(
      decided,
      // The grant may end earlier because of its `session` limit or time window.
      (until) => ({ event: { ...decided, detail: { ...detail, until } }, request: { ...next, until } }),
      (decide) => parts.give(live, next.grant, { ...gift, decided: decide }),
      approver.replay,
    );
  } catch (thrown) {
    return (await keepReplay(parts, approver, event, thrown)) ?? refused(event, thrown);
  }
}

/**
 * Stores the id of a refused webhook message, because each message allows one decision. If GitHub was unavailable, no
 * decision was made and the message can be sent again.
 * @returns a refusal if the store could not save the id
 */
export async function keepReplay(
  { audit }: Parts,
  { replay }: Approver,
  event: AuditEvent,
  thrown: unknown,
): Promise<ReturnType<typeof refused> | undefined> {
  if (!replay || UNDECIDED.has(toMeshpassError(thrown).code)) return undefined;
  try {
    await audit.journal.transaction((tx) => tx.once(replay));
    return undefined;
  } catch (cause) {
    return refused(event, cause);
  }
}

/**
 * Rejects a replayed message before a grant is removed. The store would only reject it along with the decision, after
 * the removal.
 * @throws MeshpassError `proof_replayed`
 */
export async function refuseReplayed({ store }: Parts, { replay }: Approver): Promise<void> {
  if (replay && (await isUsed(store, replay.key)))
    throw new MeshpassError('proof_replayed', 'This message has already been used. Send a new one.');
}

const UNDECIDED: ReadonlySet<string> = new Set(['issuer_unavailable', 'issuer_rate_limited', 'kubernetes_unavailable']);

interface Approving {
  readonly approval: Approval;
  /** Attestation of the approver with GitHub's current data. */
  readonly attestation: Attestation;
  readonly entry: string;
  /** Earlier answers from people who may still approve. */
  readonly earlier: readonly Answer[];
}

/** Checks each approver against the access file in force and GitHub's current data. */
async function whoApproves(
  parts: Parts,
  request: Request,
  live: Live,
  approver: Approver,
  { decision }: AnswerOrder,
): Promise<Approving> {
  // A single denial is final.
  const before = decision === 'approve' ? request.answers : [];
  const people = [approver, ...before].map((one) => one.attestation);
  const { now, fresh } = await askGithub(parts, people, () => {
    // The session may have ended during the GitHub request.
    pending(parts, request.id);
    const { approval } = stillOffered(parts, live, request.grant);
    const access = parts.mesh.access();
    return { approval, access, asked: askedOf(approval.by, access.deny) };
  });
  const { approval, access } = now;
  const [attestation, ...others] = fresh as readonly [Attestation, ...Attestation[]];
  const entryOf = (one: Attestation) => approverEntry(approval, one, access, seconds(parts.clock));
  const entry = entryOf(attestation);
  if (entry === undefined)
    throw new MeshpassError('approval_forbidden', `You are not allowed to approve ${request.grant}.`);
  const requester = identitiesNow(parts, request);
  const counts = (one: Answer, index: number) =>
    entryOf(others[index]!) !== undefined &&
    isIssuerOf(one.attestation, access) &&
    comparePeople(requester, one.identities) === 'different';
  const earlier = decision === 'approve' ? before.filter(counts) : request.answers;
  return { approval, attestation, entry, earlier };
}

/** Whether the issuer's name in the access file still refers to the same issuer. */
function isIssuerOf({ issuer, claims }: Attestation, { trust }: Access): boolean {
  const named = trust.issuers.find(({ name }) => name === issuer);
  return typeof claims.iss !== 'string' || named === undefined || named.issuer === claims.iss;
}

function pending({ book, live, clock }: Parts, id: string): { readonly request: Request; readonly live: Live } {
  const request = book.get(id);
  const session = request && live.byId(request.sessionId);
  if (!request || !session || session.ended) throw unknown(id);
  if (request.state !== 'pending' || request.answerBy <= seconds(clock)) throw unknown(id);
  return { request, live: session };
}

/** Checks that the access file still offers the grant to the requester, who may have left the team. */
function stillOffered({ mesh, authorize, clock }: Parts, live: Live, name: string) {
  const { requestable } = authorize(live.session.attestation, mesh.access(), seconds(clock));
  if (!requestable.some(({ grant }) => grant.name === name)) throw notOffered(name);
  return offered(mesh.access(), name);
}

/** Returns the identities known at the time of the request and all that the requester's sessions have shown since. */
function identitiesNow({ live, mesh }: Parts, { identities, sessionId }: Request): readonly Identity[] {
  return peopleOf(live, mesh.access().trust)(identities, sessionId);
}

function refuseTwice(earlier: Answer, person: readonly Identity[], identities: readonly Identity[]): void {
  const compared = comparePeople(person, identities);
  if (compared === 'different') return;
  throw compared === 'same'
    ? new MeshpassError(
        'approval_answered',
        'You have already answered this request. Another person must also approve it.',
      )
    : new MeshpassError(
        'approval_not_comparable',
        `Cannot verify that you are not ${earlier.login}, who has already approved. Answer with an identity from the same issuer.`,
      );
}

function answered(request: Request, count: number, given: Answer): Request {
  const answers = [...request.answers, given];
  if (given.decision === 'deny') return { ...request, answers, state: 'denied' };
  if (answers.length < count) return { ...request, answers };
  const length = Math.min(...answers.map((one) => one.seconds));
  return { ...request, answers, state: 'approved', until: given.at + length };
}

function requester({ issuer, subject, login, sessionId }: Request) {
  return { requester: { issuer, subject, login, session: sessionId } };
}
