/** Handles approval requests and emergency access, and connects them to sessions. */
import type { IncomingHttpHeaders } from 'node:http';
import { type Attestation, toMeshpassError } from '@meshpass/identity';
import type {
  ApprovalAnswerBody,
  ApprovalRequestBody,
  ApprovalReviewBody,
  EmergencyAccessBody,
  ReviewState,
} from '@meshpass/identity/approval';
import { type AuditEvent, annotateEvent } from '../../audit/index.ts';
import { createRateAllowance, type KeyedMutex, runExclusive, toUnixSeconds } from '../../base/index.ts';
import { type Live, principalUnder } from '../../core/index.ts';
import { isReviewBody, listAnswerableRequests, recordAnswer } from './answer.ts';
import { createApprovalRegistry } from './approval-registry.ts';
import { ask, requestableGrants } from './create-request.ts';
import { activateEmergencyGrant, isOverdue } from './emergency.ts';
import {
  createPortLister,
  jsonByteLength,
  listIfAvailable,
  listOpenedPorts,
  MAX_LIST_BYTES,
  takeWithinSize,
} from './overview.ts';
import type { ApprovalParts, ApprovalsContext, Approver } from './parts.ts';
import {
  describeRequest,
  type GrantRequest,
  isEmergencyRequest,
  isOpenRequest,
  needsReview,
  unknown,
} from './request.ts';
import { allowMessageReuse, deleteOldRequests, readOpenRequests, recentRequests } from './rows.ts';
import { createDeliveryRows, createWebhookDelivery, monotonicClock } from './webhook/deliver.ts';
import { receive } from './webhook/receive.ts';

/** Handles approval requests and emergency access. */
export type Approvals = Awaited<ReturnType<typeof startApprovals>>;

/** The rate limit for the requests and answers that a person sends. */
const ATTEMPTS = { burst: 20, perSecond: 0.2 };
/**
 * How often a person may query lists. These limits are separate, so that listing requests never uses up the allowance
 * for answering them.
 */
const LOOKS = { burst: 20, perSecond: 0.2 };
const OWN_LOOKS = { burst: 20, perSecond: 1 };
const TOO_MANY = 'You sent too many requests, answers or list queries. Wait before you try again.';
/** The mutex key that serializes all emergency actions. */
const EMERGENCY = 'emergency';
/** The maximum number of a session's own requests that its overview includes. */
const MOST_OWN = 50;
const MOST_TO_ANSWER = 200;
/** The maximum number of requests to return to an operator. */
const MOST_LISTED = 1_000;
const SWEEP_MS = 500;
const FORGET_MS = 3_600_000;
/** How long settled requests are listed, in seconds. The audit log keeps them for longer. */
const KEPT_SECONDS = 30 * 86_400;

/**
 * Loads the open requests from the store and starts approvals, along with the periodic sweep and the delivery of
 * webhook messages.
 * @param acting a stack that stops all of them when it is disposed
 * @throws MeshpassError `store_unavailable`
 */
export async function startApprovals(context: ApprovalsContext, acting: AsyncDisposableStack) {
  const { store, clock } = context;
  const telling = { ...context, clock: monotonicClock(clock) };
  const tell = (request: GrantRequest) => createDeliveryRows(telling, request);
  const mutex: KeyedMutex = new Map();
  const parts: ApprovalParts = {
    ...context,
    book: createApprovalRegistry(context, tell, await readOpenRequests(store)),
    inTurn: (act) => exclusively(EMERGENCY, act),
  };
  const { book } = parts;
  const describe = (request: GrantRequest) => describeRequest(request, listOpenedPorts(context.mesh, request.grant));
  const attempts = createRateAllowance({ ...ATTEMPTS, clock });
  const looks = createRateAllowance({ ...LOOKS, clock });
  const ownLooks = createRateAllowance({ ...OWN_LOOKS, clock });

  /** Repeats an action while this broker is the leader, skipping a run if the previous one has not finished. */
  const repeat = (ms: number, act: () => Promise<void>) => {
    let isRunning = false;
    const timer = setInterval(async () => {
      if (isRunning || !store.isLeader()) return;
      isRunning = true;
      await act().catch(context.onFailure);
      isRunning = false;
    }, ms).unref();
    acting.defer(() => clearInterval(timer));
  };
  // End the requests that were not answered in time or whose grant has ended, and mark overdue reviews.
  repeat(SWEEP_MS, async () => {
    for (const one of [...book.all()]) await exclusively(one.id, () => endPassed(parts, one.id));
  });
  repeat(SWEEP_MS, createWebhookDelivery(context));
  repeat(FORGET_MS, () => deleteOldRequests(store, toUnixSeconds(clock) - KEPT_SECONDS));

  /** Runs an action after all earlier actions with the same key have finished and their outcomes are known. */
  function exclusively<T>(key: string, act: () => Promise<T>): Promise<T> {
    return runExclusive(mutex, key, async () => {
      await context.audit.journal.settled();
      return await act();
    });
  }

  /**
   * Runs an action after all earlier actions with the same key, and returns a description of the resulting request.
   * @param person the person whose rate limit applies. Undefined for operators, who are not limited
   * @throws MeshpassError `too_many_attempts`, and any error from `run`
   */
  const act = async (person: Attestation | undefined, key: string, run: () => Promise<GrantRequest>) => {
    if (person) attempts.spend(`${person.issuer} ${person.subject}`, TOO_MANY);
    return describe(await exclusively(key, run));
  };

  /** Answers a request or reviews an emergency. */
  const answerInTurn = (approver: Approver, order: ApprovalAnswerBody | ApprovalReviewBody, event: AuditEvent) => {
    const detail = { decision: order.decision, via: approver.via };
    annotateEvent(event, { target: order.id, reason: order.reason ?? '', detail });
    return act(approver.attestation, order.id, () => recordAnswer(parts, { approver, order, event }));
  };

  /**
   * Ends an open request. The grant is removed before the decision is recorded. If the broker crashes in between, the
   * session is therefore left without the grant instead of keeping it.
   */
  const close = async (request: GrantRequest, state: 'withdrawn' | 'revoked', event: AuditEvent, why: string) => {
    const live = context.live.byId(request.session);
    if (live && request.state === 'approved') await context.take(live, request.grant, why);
    annotateEvent(event, { grant: request.grant });
    return await book.decide(event, { ...request, state });
  };

  return {
    ask: (live: Live, order: ApprovalRequestBody, event: AuditEvent) => {
      const { attestation, id } = live.session;
      // Serialize all actions by the same person, because the number of requests per person is limited.
      const key = `person ${attestation.issuer} ${attestation.subject}`;
      annotateEvent(event, { grant: order.grant, sessionId: id });
      return act(attestation, key, () => ask(parts, live, order, event));
    },
    withdraw: ({ session }: Live, id: string, event: AuditEvent) => {
      annotateEvent(event, { target: id });
      return act(session.attestation, id, async () => {
        const request = book.get(id);
        // Another session's request is reported as unknown.
        if (request?.session !== session.id || !isOpenRequest(request)) throw unknown(id);
        return await close(request, 'withdrawn', event, 'The request was withdrawn.');
      });
    },
    /** Starts emergency access, which adds a grant to the session without waiting for an approval. */
    take: (live: Live, order: EmergencyAccessBody, event: AuditEvent) => {
      const { attestation, id } = live.session;
      annotateEvent(event, { grant: order.grant, sessionId: id });
      // Serialize these actions across all people, because the number of unreviewed emergencies is limited and a person
      // may have two accounts.
      return act(attestation, EMERGENCY, () => activateEmergencyGrant(parts, live, order, event));
    },
    /** Counts the emergencies that still need a review, by state. */
    reviews: () => {
      const all = [...book.all()];
      const count = (state: ReviewState) => all.filter(({ emergency }) => emergency?.state === state).length;
      return { open: count('open'), overdue: count('overdue'), objected: count('objected') };
    },
    answer: answerInTurn,
    /** Handles an answer or review signed by a webhook. */
    receive: async (name: string, headers: IncomingHttpHeaders, body: string, event: AuditEvent) => {
      const { attestation, via, order, replay } = await receive(context, name, headers, body);
      const { issuer, subject, login } = attestation;
      const action = isReviewBody(order) ? 'approval.review' : event.action;
      const detail = { decision: order.decision, via };
      annotateEvent(event, { action, issuer, subject, login, target: order.id, known: true, detail });
      // Record the message before anything is decided, so that it cannot be used twice, nor be used later if it is
      // refused now.
      await context.audit.journal.transaction((tx) => tx.once(replay));
      try {
        return await answerInTurn({ attestation, via }, order, event);
      } catch (thrown) {
        // Nothing was decided, for example because GitHub was unavailable, so the message may be sent again.
        if (toMeshpassError(thrown).retryable) await allowMessageReuse(store, replay.key).catch(context.onFailure);
        throw thrown;
      }
    },
    /**
     * Returns the grants that a session can request, its own requests, and the requests that the person may answer or
     * review.
     * @param scope `own` returns only the session's own requests, which are cheap to list and therefore have a higher
     *   rate limit
     * @throws MeshpassError `too_many_attempts`, `store_unavailable`
     */
    overview: async (live: Live, scope: 'all' | 'own') => {
      const { session } = live;
      const { issuer, subject } = session.attestation;
      if (scope === 'own') ownLooks.spend(session.id, TOO_MANY);
      else looks.spend(`${issuer} ${subject}`, TOO_MANY);
      const opens = createPortLister(context.mesh);
      const listed = (all: readonly GrantRequest[], most: number) =>
        takeWithinSize(all.slice(0, most), MAX_LIST_BYTES, (one) =>
          jsonByteLength(describeRequest(one, undefined)),
        ).map((one) => describeRequest(one, opens(one.grant)));
      const own = listed(await recentRequests(store, { session_id: session.id }, MOST_OWN), MOST_OWN);
      if (scope === 'own') return { requestable: [], own, to_answer: [], to_review: [] };
      // Emergencies that already have an objection are left out, but a reviewer can still accept them by id.
      const waiting = [...book.all()].filter((one) =>
        one.emergency
          ? one.emergency.state === 'open' || one.emergency.state === 'overdue'
          : one.state === 'pending' && context.live.byId(one.session),
      );
      const { all, incomplete } = await listIfAvailable(() =>
        listAnswerableRequests(parts, session.attestation, waiting),
      );
      const { answer = [], review = [] } = Object.groupBy(all, (one) => (one.emergency ? 'review' : 'answer'));
      return {
        own,
        to_answer: listed(answer, MOST_TO_ANSWER),
        to_review: listed(review, MOST_TO_ANSWER),
        ...(incomplete !== undefined && { incomplete }),
        requestable: takeWithinSize(requestableGrants(parts, live, opens), MAX_LIST_BYTES * 2),
      };
    },
    /**
     * Lists requests, newest first.
     * @param id if set, only returns the request with this id
     */
    list: async (id?: string) => {
      const opens = createPortLister(context.mesh);
      const recent = await recentRequests(store, id === undefined ? {} : { id }, MOST_LISTED);
      // Emergencies that need a review are always listed, regardless of their age.
      const old = id === undefined ? [...book.all()].filter(needsReview) : [];
      const missing = old.filter((one) => !recent.some((other) => other.id === one.id));
      return [...recent, ...missing].map((one) => describeRequest(one, opens(one.grant)));
    },
    /** Revokes an approval or ends a pending request. */
    revoke: (id: string, reason: string, event: AuditEvent) => {
      annotateEvent(event, { target: id });
      return act(undefined, id, async () => {
        const request = book.get(id);
        if (!request || !isOpenRequest(request)) throw unknown(id);
        const { person, session } = request;
        annotateEvent(event, { reason, detail: { requester: { ...person, session } } });
        return await close(request, 'revoked', event, `An operator revoked the grant: ${reason}`);
      });
    },
  };
}

/**
 * Ends a request that was not answered in time or whose grant has ended, and marks its review as overdue if the
 * deadline has passed.
 * @throws MeshpassError `store_unavailable`, `overloaded`
 */
async function endPassed(parts: ApprovalParts, id: string): Promise<void> {
  await endOpen(parts, id);
  const request = parts.book.get(id);
  if (!request || !isEmergencyRequest(request) || request.emergency.state !== 'open') return;
  if (!isOverdue(request, toUnixSeconds(parts.clock))) return;
  const late = { ...request, emergency: { ...request.emergency, state: 'overdue' as const } };
  await parts.book.end(late, 'approval.overdue', 'The emergency was not reviewed in time.');
}

async function endOpen({ book, live, clock }: ApprovalParts, id: string): Promise<void> {
  const request = book.get(id);
  if (!request || !isOpenRequest(request)) return;
  const now = toUnixSeconds(clock);
  const session = live.byId(request.session);
  if (request.state === 'pending') {
    if (session && request.answer_by > now) return;
    const reason = session ? 'The request was not answered in time.' : 'The requesting session has ended.';
    return await book.end({ ...request, state: 'expired' }, 'approval.expire', reason);
  }
  const held = session && principalUnder(session.session, request.grant);
  if (held && request.until! > now) return;
  const lost = request.until! > now ? 'The session has lost the grant.' : 'The approval has expired.';
  const reason = session ? lost : 'The session has ended.';
  await book.end({ ...request, state: 'ended' }, 'approval.end', reason);
}
