import { MeshpassError } from '@meshpass/identity';
import type {
  AnswerOrder,
  ApprovalOrder,
  ApprovalRequest,
  ApprovalsResponse,
  EmergencyOrder,
  ReviewOrder,
} from '@meshpass/identity/approval';
import { granted, type Outcome, refused } from '../audit/log/decision.ts';
import type { AuditEvent } from '../audit/log/event.ts';
import { risingClock } from '../clock/clock.ts';
import { type KeyedMutex, runExclusive } from '../limits/keyed-mutex.ts';
import { createRateAllowance } from '../limits/rate-allowance.ts';
import type { Live } from '../session/live.ts';
import { answer, mayAnswer } from './answer.ts';
import { ask, requestableGrants } from './ask.ts';
import { createBook } from './book.ts';
import { mayReview, review } from './emergency/review.ts';
import { takeInEmergency } from './emergency/take.ts';
import { opensOf } from './opens.ts';
import { bytesOf, firstWithin, MOST_LISTED_BYTES, opensWithin, whereKnown } from './overview.ts';
import type { ApprovalsContext, Approver, Parts } from './parts.ts';
import { unknown } from './refusals.ts';
import { describeRequest, isOpen, needsReview, type Request } from './request.ts';
import { openRequests, recentRequests } from './rows.ts';
import { endPassed } from './sweep.ts';
import { deliveriesOf } from './webhook/deliver.ts';
import type { SignedHeaders } from './webhook/keys.ts';
import { receive } from './webhook/receive.ts';

export interface Approvals {
  readonly ask: (live: Live, order: ApprovalOrder, event: AuditEvent) => Promise<Outcome<ApprovalRequest>>;
  readonly withdraw: (live: Live, id: string, event: AuditEvent) => Promise<Outcome<ApprovalRequest>>;
  readonly answer: (approver: Approver, order: AnswerOrder, event: AuditEvent) => Promise<Outcome<ApprovalRequest>>;
  /** Takes a grant without an approval. */
  readonly take: (live: Live, order: EmergencyOrder, event: AuditEvent) => Promise<Outcome<ApprovalRequest>>;
  /** Says of what was taken so whether it was right. */
  readonly review: (reviewer: Approver, order: ReviewOrder, event: AuditEvent) => Promise<Outcome<ApprovalRequest>>;
  /** How many of them are in which state, of those that need a review. */
  readonly reviews: () => Readonly<Record<'open' | 'overdue' | 'objected', number>>;
  /** An answer, or a review, that a webhook has signed. */
  readonly receive: (
    name: string,
    headers: SignedHeaders,
    body: string,
    event: AuditEvent,
  ) => Promise<Outcome<ApprovalRequest>>;
  /**
   * What a session could ask for, has asked for, and may answer.
   * @param scope `own`: only what it has asked for, which costs little and may be asked often
   * @throws MeshpassError `too_many_attempts`, `store_unavailable`
   */
  readonly overview: (live: Live, scope: 'all' | 'own') => Promise<ApprovalsResponse>;
  /** Requests, the newest first. @param id only this one */
  readonly list: (id?: string) => Promise<readonly ApprovalRequest[]>;
  /** Takes back what was approved, or ends a request that waits. */
  readonly revoke: (id: string, reason: string, event: AuditEvent) => Promise<Outcome<ApprovalRequest>>;
  /** Ends what has passed; called again and again. */
  readonly sweep: () => Promise<void>;
}

/** Questions and answers of one person, at once and a second after that. */
const ATTEMPTS = { burst: 20, perSecond: 0.2 };
/** The same of looking: answers are never refused because somebody has looked. */
const LOOKS = { burst: 20, perSecond: 0.2 };
const OWN_LOOKS = { burst: 20, perSecond: 1 };
/** Requests of a session that its overview has. */
const MOST_OWN = 50;
const MOST_TO_ANSWER = 200;
/** Requests that operators are listed. */
const MOST_LISTED = 1_000;

export async function createApprovals(context: ApprovalsContext): Promise<Approvals> {
  const { store, clock } = context;
  const telling = { ...context, clock: risingClock(clock) };
  const tell = (request: Request) => deliveriesOf(telling, request);
  const tellTakenBack = (request: Request) => deliveriesOf(telling, request, 'approval.changed');
  const stored = async (id: string) => (await recentRequests(store, { id }, 1))[0];
  const mutex: KeyedMutex = new Map();
  const parts: Parts = {
    ...context,
    book: createBook({ ...context, tell, tellTakenBack, stored }, await openRequests(store)),
    inTurn: (act) => runExclusive(mutex, 'emergency', act),
  };
  const { book } = parts;
  const describe = (request: Request) => describeRequest(request, opensOf(context.mesh, request.grant));
  const attempts = createRateAllowance({ ...ATTEMPTS, clock });
  const looks = createRateAllowance({ ...LOOKS, clock });
  const ownLooks = createRateAllowance({ ...OWN_LOOKS, clock });
  let sweeping = false;

  const limited = async (
    { issuer, subject }: { readonly issuer: string; readonly subject: string },
    event: AuditEvent,
    act: () => Promise<Outcome<Request>>,
  ): Promise<Outcome<ApprovalRequest>> => {
    if (!attempts.take(`${issuer} ${subject}`)) return refused(event, tooMany());
    const done = await act();
    return done.granted ? granted(done.event, describe(done.value)) : done;
  };

  /** One decision at a time of a request, and none before it is known what the store has of it. */
  const deciding = <T>(id: string, event: AuditEvent, decide: () => Promise<Outcome<T>>): Promise<Outcome<T>> =>
    runExclusive(mutex, id, async () => {
      try {
        await book.settle(id);
      } catch (thrown) {
        return refused({ ...event, target: id }, thrown);
      }
      return await decide();
    });

  return {
    ask: (live, order, event) => {
      const { attestation, id } = live.session;
      // One after the other for a person: their requests are counted.
      const key = `person ${attestation.issuer} ${attestation.subject}`;
      const asking = { ...event, grant: order.grant, sessionId: id };
      return limited(attestation, asking, () => runExclusive(mutex, key, () => ask(parts, live, order, asking)));
    },
    withdraw: (live, id, event) => {
      const { attestation, id: sessionId } = live.session;
      return limited(attestation, event, () =>
        deciding(id, event, async () => {
          const request = book.get(id);
          // Of another session it is said no more than of none.
          if (request?.sessionId !== sessionId || !isOpen(request)) return refused(event, unknown(id));
          // Taken first: a broker that ends between the two has taken too much, not too little.
          if (request.state === 'approved') await context.take(live, request.grant, 'The request was withdrawn.');
          const withdrawn = { ...request, state: 'withdrawn' as const };
          return await book.decide({ ...event, grant: request.grant, target: id }, withdrawn);
        }),
      );
    },
    take: (live, order, event) => {
      const { attestation, id } = live.session;
      const asking = { ...event, grant: order.grant, sessionId: id };
      // One after the other: those that wait for a review are counted, and a person may have two accounts.
      return limited(attestation, asking, () => parts.inTurn(() => takeInEmergency(parts, live, order, asking)));
    },
    review: (reviewer, order, event) =>
      limited(reviewer.attestation, event, () =>
        deciding(order.id, event, () => review(parts, reviewer, order, event)),
      ),
    reviews: () => {
      const count = { open: 0, overdue: 0, objected: 0 };
      for (const { emergency } of book.all()) {
        const state = emergency?.state;
        if (state === 'open' || state === 'overdue' || state === 'objected') count[state]++;
      }
      return count;
    },
    answer: (approver, order, event) =>
      limited(approver.attestation, event, () =>
        deciding(order.id, event, () => answer(parts, approver, order, event)),
      ),
    receive: async (name, headers, body, asked) => {
      let event = asked;
      try {
        const { attestation, via, order, replay } = await receive(context, name, headers, body);
        const { issuer, subject, login } = attestation;
        const action = 'review' in order ? 'approval.review' : asked.action;
        const { id } = 'review' in order ? order.review : order.answer;
        event = { ...asked, action, issuer, subject, login, target: id, known: true };
        const sender = { attestation, via, replay };
        return await limited(attestation, event, () =>
          deciding(id, event, () =>
            'review' in order ? review(parts, sender, order.review, event) : answer(parts, sender, order.answer, event),
          ),
        );
      } catch (thrown) {
        return refused(event, thrown);
      }
    },
    overview: async (live, scope) => {
      const { session } = live;
      const { issuer, subject } = session.attestation;
      const isAllowed = scope === 'own' ? ownLooks.take(session.id) : looks.take(`${issuer} ${subject}`);
      if (!isAllowed) throw tooMany();
      const opens = opensWithin(context.mesh);
      const listed = (all: readonly Request[], most: number) =>
        firstWithin(all.slice(0, most), MOST_LISTED_BYTES, (one) => bytesOf(describeRequest(one, undefined))).map(
          (one) => describeRequest(one, opens(one.grant)),
        );
      const own = listed(await recentRequests(store, { sessionId: session.id }, MOST_OWN), MOST_OWN);
      if (scope === 'own') return { requestable: [], own, to_answer: [], to_review: [] };
      const self = { attestation: session.attestation, via: 'workspace' };
      const toAnswer = await whereKnown(() => mayAnswer(parts, self));
      const toReview = await whereKnown(() => mayReview(parts, self));
      const incomplete = toAnswer.incomplete ?? toReview.incomplete;
      return {
        ...{ own, to_answer: listed(toAnswer.all, MOST_TO_ANSWER), to_review: listed(toReview.all, MOST_TO_ANSWER) },
        ...(incomplete !== undefined && { incomplete }),
        requestable: firstWithin(requestableGrants(parts, live, opens), MOST_LISTED_BYTES * 2),
      };
    },
    list: async (id) => {
      const opens = opensWithin(context.mesh);
      const recent = await recentRequests(store, { id }, MOST_LISTED);
      // However old they are.
      const old = id === undefined ? [...book.all()].filter(needsReview) : [];
      const missing = old.filter((one) => !recent.some((other) => other.id === one.id));
      return [...recent, ...missing].map((one) => describeRequest(one, opens(one.grant)));
    },
    revoke: (id, reason, event) =>
      deciding(id, event, async () => {
        const request = book.get(id);
        if (!request || !isOpen(request)) return refused({ ...event, target: id }, unknown(id));
        const live = context.live.byId(request.sessionId);
        const why = `An operator took it back: ${reason}`;
        if (live && request.state === 'approved') await context.take(live, request.grant, why);
        const { issuer, subject, login, sessionId } = request;
        const detail = { ...event.detail, requester: { issuer, subject, login, session: sessionId } };
        const asked = { ...event, grant: request.grant, target: id, reason, detail };
        const done = await book.decide(asked, { ...request, state: 'revoked' });
        return done.granted ? granted(done.event, describe(done.value)) : done;
      }),
    sweep: async () => {
      if (sweeping) return;
      sweeping = true;
      try {
        for (const id of book.unsettled()) await runExclusive(mutex, id, () => book.settle(id));
        for (const one of [...book.all()]) await runExclusive(mutex, one.id, () => endPassed(parts, one.id));
      } catch (thrown) {
        context.onFailure(thrown);
      } finally {
        sweeping = false;
      }
    },
  };
}

function tooMany(): MeshpassError {
  return new MeshpassError('too_many_attempts', 'Too many requests, answers or lists of yours; wait a little.', {
    retryAfter: 1 / ATTEMPTS.perSecond,
  });
}
