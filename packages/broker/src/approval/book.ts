/**
 * The requests that are open, as the store has them: those that wait for answers, those whose grant is given, and emergencies that
 * need a review. Each change is durable, with its audit row, before it counts here; so a broker that takes over has the same.
 */
import { MeshpassError } from '@meshpass/identity';
import { type AuditContext, type Changes, granted, type Outcome, recordGrant, refused } from '../audit/log/decision.ts';
import { type AuditEvent, auditRow, newEvent } from '../audit/log/event.ts';
import type { Clock, Random } from '../clock/clock.ts';
import type { Decided } from '../session/widen.ts';
import { isOpen, needsReview, type Request } from './request.ts';
import { requestRow } from './rows.ts';

export interface Book {
  readonly get: (id: string) => Request | undefined;
  /**
   * Looks into the store where it did not confirm the last decision of a request, and may have it all the same. To be called before
   * anything is decided of it. @throws MeshpassError `store_unavailable`, `overloaded`
   */
  readonly settle: (id: string) => Promise<void>;
  /** Ids of those that are to be settled. */
  readonly unsettled: () => readonly string[];
  readonly all: () => IterableIterator<Request>;
  /** Those that are open; an emergency whose grant is over is none of them. */
  readonly ofSession: (sessionId: string) => readonly Request[];
  /** Writes a decision of somebody, and what it makes of a request. @returns refused where nothing was written */
  readonly decide: (event: AuditEvent, request: Request, replay?: Changes['replay']) => Promise<Outcome<Request>>;
  /**
   * The same of a decision that gives the grant: it is written in the transaction in which the session gains it.
   * @param decide what is decided, once it is known until when the session has the grant
   * @param give calls `decided` with that, and writes its changes together with the gain
   * @returns refused where nothing was written
   */
  readonly decideWith: (
    event: AuditEvent,
    decide: (until: number) => Decision,
    give: (decided: (until: number) => Decided) => Promise<Outcome<unknown>>,
    replay?: Changes['replay'],
  ) => Promise<Outcome<Request>>;
  /** Writes what nobody decided: that time has passed. @throws MeshpassError `store_unavailable`, `overloaded` */
  readonly end: (
    request: Request,
    action: 'approval.expire' | 'approval.end' | 'approval.overdue',
    reason: string,
  ) => Promise<void>;
}

export interface Decision {
  /** The event that was given, with what was decided. */
  readonly event: AuditEvent;
  readonly request: Request;
}

export interface BookContext {
  /** Messages to webhooks about what has become of a request. */
  readonly tell: (request: Request) => NonNullable<Changes['deliveries']>;
  /** The same of a decision that is taken back, after what they were told of it. */
  readonly tellTakenBack: (request: Request) => NonNullable<Changes['deliveries']>;
  readonly audit: AuditContext;
  readonly clock: Clock;
  readonly random: Random;
  /** A request as the store has it. */
  readonly stored: (id: string) => Promise<Request | undefined>;
}

/** @param open as the store has them */
export function createBook(context: BookContext, open: readonly Request[]): Book {
  const { audit, clock, random, tell, tellTakenBack, stored } = context;
  const byId = new Map<string, Request>();
  const bySession = new Map<string, Map<string, Request>>();
  /** Those of which the store may have more than was confirmed. */
  const unsure = new Set<string>();
  const put = (request: Request) => {
    const { id, sessionId } = request;
    const own = bySession.get(sessionId) ?? new Map<string, Request>();
    if (isOpen(request) || needsReview(request)) byId.set(id, request);
    else byId.delete(id);
    if (isOpen(request)) {
      bySession.set(sessionId, own.set(id, request));
      return;
    }
    own.delete(id);
    if (own.size === 0) bySession.delete(sessionId);
  };
  for (const one of open) put(one);
  const changesOf = (request: Request, replay: Changes['replay']): Changes => ({
    approvals: [requestRow(request)],
    deliveries: tell(request),
    ...(replay && { replay }),
  });
  const ofSession = (sessionId: string) => [...(bySession.get(sessionId)?.values() ?? [])];

  return {
    get: (id) => byId.get(id),
    settle: async (id) => {
      if (!unsure.has(id)) return;
      // Behind a statement that still runs, because its connection alone was lost.
      await audit.journal.write({ audit: [] });
      const found = await stored(id);
      if (found) put(found);
      unsure.delete(id);
    },
    unsettled: () => [...unsure],
    all: () => byId.values(),
    ofSession,
    decide: async (event, request, replay) => {
      const written = await recordGrant(audit, event, changesOf(request, replay));
      if (!written.granted) {
        if (written.error.code === 'store_unavailable') unsure.add(request.id);
        return written;
      }
      put(request);
      return granted(event, request);
    },
    decideWith: async (asked, decide, give, replay) => {
      let made: Decision | undefined;
      const given = await give((until) => {
        made = decide(until);
        const { event, request } = made;
        const rule = event.grant === undefined ? undefined : audit.ruleOf?.(event.grant);
        const row = auditRow({ ...event, rule }, 'allowed', event.reason ?? '', undefined, clock());
        const changes = { ...changesOf(request, replay), also: [row] };
        const before = byId.get(request.id) ?? neverGiven(request);
        // Made after the message that may have told of it: webhooks get it after that one.
        const undo = { approvals: [requestRow(before)], deliveries: tellTakenBack(before) };
        return { changes, undo };
      });
      // Where it was written and the session lost it at once, the sweep ends the request.
      if (!made || (!given.granted && !given.event.row.written)) {
        const why = given.granted
          ? new MeshpassError('internal', 'The grant was given without a decision.')
          : given.error;
        return refused(made?.event ?? asked, why);
      }
      const { event, request } = made;
      event.row.written = true;
      audit.observe(event, 'allowed');
      put(request);
      return granted(event, request);
    },
    end: async (request, action, reason) => {
      const { issuer, subject, login, workspace, sessionId, grant, id } = request;
      const event = {
        ...newEvent(action, {}, clock, random),
        ...{ issuer, subject, login, workspace, sessionId, grant, target: id },
      };
      const row = auditRow(event, 'ended', reason, undefined, clock());
      await audit.journal.write({ ...changesOf(request, undefined), audit: [row] }).catch((thrown: unknown) => {
        unsure.add(id);
        throw thrown;
      });
      put(request);
    },
  };
}

/** What was taken in an emergency and not confirmed by the store. */
function neverGiven(request: Request): Request {
  const { emergency } = request;
  return { ...request, state: 'ended', ...(emergency && { emergency: { ...emergency, state: 'void' } }) };
}
