/** Who calls the operator listener: an operator by their session and its key (RFC 9449 section 7), or the break-glass token. */
import type { Access } from '@meshpass/access';
import { MeshpassError } from '@meshpass/identity';
import { sha256Hex } from '@meshpass/identity/hash';
import { granted, type Outcome, refused } from '../audit/log/decision.ts';
import type { AuditEvent } from '../audit/log/event.ts';
import { type Clock, seconds } from '../clock/clock.ts';
import { createRateAllowance } from '../limits/rate-allowance.ts';
import { groupOf, type SourceOf } from '../limits/source-address.ts';
import { BREAK_GLASS, type OperatorCaller } from '../operator/caller.ts';
import type { Confirmations } from '../operator/confirmations.ts';
import { isOfPage } from '../operator/page/browser-sign-in.ts';
import { cookieOf, SESSION_COOKIE } from '../operator/page/cookies.ts';
import {
  callerOf,
  isUnconfirmed,
  type OperatorSession,
  type OperatorSessions,
  whyNoRole,
} from '../operator/sessions.ts';
import { equalInConstantTime } from '../secrets/constant-time.ts';
import { MAX_AGE, MAX_AHEAD, verifyDpop } from '../token/dpop.ts';
import { createReplayMemory } from '../token/replay.ts';
import type { Connections } from './connections.ts';
import type { Authentication, Presented } from './route.ts';

export interface OperatorsOptions {
  /** The break-glass token; undefined where break-glass is off, as by default. */
  readonly token: string | undefined;
  readonly sessions: OperatorSessions;
  readonly confirmations: Confirmations;
  /** Base of DPoP `htu`: this listener has no name of its own, people reach it through a port-forward. */
  readonly publicUrl: string;
  /** @throws MeshpassError while no access file is in force */
  readonly access: () => Access;
  readonly sourceOf: SourceOf;
  /** Unix ms. */
  readonly clock: Clock;
  /** Unix seconds at which this process started. */
  readonly startedAt: number;
  /** Of the listener that operators use. */
  readonly connections: Pick<Connections, 'belongs'>;
  /** The break-glass token was used. */
  readonly onBreakGlass: () => void;
  /** A session whose operator has no role any more. */
  readonly onRoleLost: (session: OperatorSession) => void;
}

export interface Operators {
  /**
   * Refuses with `operator_unauthorized`, `break_glass_off`, `operator_session_ended`, `operator_unconfirmed`, `dpop_*`;
   * `too_many_attempts` after wrong tokens from the same source, whatever comes then.
   */
  readonly authentication: Authentication<OperatorCaller>;
  /** The same, also where the issuer has not confirmed the person in time: for what confirms or ends the session. */
  readonly unconfirmedAuthentication: Authentication<OperatorCaller>;
  /** A stranger's key, who wants to sign in: a proof that was made for this request just now. */
  readonly keyAuthentication: Authentication<{ readonly jkt: string }>;
  /** What waits for a second person. */
  readonly confirmations: Confirmations;
  /**
   * A browser: the session in its cookie, which is one of the page. Refuses with `operator_session_ended`, `operator_unconfirmed`,
   * `too_many_attempts`.
   */
  readonly pageAuthentication: Authentication<OperatorCaller>;
  readonly unconfirmedPageAuthentication: Authentication<OperatorCaller>;
  /** Somebody who has shown nothing yet. Refuses with `too_many_attempts`. */
  readonly strangerAuthentication: Authentication<undefined>;
  /** A sign-in that failed counts as a wrong token. */
  readonly failed: (event: AuditEvent) => void;
}

/** Wrong tokens of a source that are compared at once, and a second after that. */
const ATTEMPTS = { burst: 10, perSecond: 0.1 };
/** DPoP proofs remembered in a window. Operators are few. */
const REPLAY_CAPACITY = 20_000;
const BREAK_GLASS_OFF =
  'Break-glass is off: this broker accepts no operator token. Sign in: meshpass login (with --service-account-token FILE for automation). ' +
  'If nobody can sign in, whoever runs the broker switches it on: --break-glass, in the chart breakGlass.enabled.';
const TOKEN = /^mpo_[A-Za-z0-9_-]{43}$/;
const SESSION = /^dpop +(mpo_[A-Za-z0-9_-]{43})$/i;

export function createOperators(options: OperatorsOptions): Operators {
  const { sessions, token, sourceOf, clock, startedAt, publicUrl, connections } = options;
  const attempts = createRateAllowance({ ...ATTEMPTS, clock });
  const strangers = createReplayMemory(MAX_AGE + MAX_AHEAD, REPLAY_CAPACITY, REPLAY_CAPACITY / 8);
  const known = createReplayMemory(MAX_AGE + MAX_AHEAD, REPLAY_CAPACITY);
  const tooMany = () =>
    new MeshpassError('too_many_attempts', 'Too many wrong tokens from this address; wait.', {
      retryAfter: 1 / ATTEMPTS.perSecond,
    });
  const proofOf = ({ request }: Presented) => ({
    proof: headerOf(request.headers.dpop),
    method: request.method ?? '',
    url: publicUrl + new URL(request.url ?? '/', publicUrl).pathname,
    ...{ now: seconds(clock), startedAt },
  });

  /** Who a session is of by now. @throws MeshpassError `operator_session_ended`, `operator_unconfirmed` */
  const callerNow = (session: OperatorSession, mayBeUnconfirmed: boolean): OperatorCaller => {
    const access = options.access();
    const caller = callerOf(session, access);
    if (caller.roles.length === 0) {
      options.onRoleLost(session);
      throw ended(whyNoRole(session, access));
    }
    if (!mayBeUnconfirmed && isUnconfirmed(session, access, seconds(clock))) throw unconfirmed(session.issuer);
    return caller;
  };

  /** @param prove that who has the token is whom it was given to */
  const bySession = (
    presented: Presented,
    sessionToken: string,
    source: string,
    mayBeUnconfirmed: boolean,
    prove: (session: OperatorSession) => void,
  ): Outcome<OperatorCaller> => {
    const { event, request } = presented;
    const session = sessions.byToken(sha256Hex(sessionToken));
    if (!session || session.expiresAt <= seconds(clock)) {
      // One that is over is sent by its own holder, and tells nothing to who tries tokens: these have 256 bits.
      if (!session) attempts.take(source);
      return refused(event, ended('The session of this operator is over or unknown; run meshpass login.'));
    }
    const { id, subject, login, issuer } = session;
    const named = { ...event, subject, login, issuer, detail: { operator_session: id } };
    let identified: AuditEvent = { ...named, unproven: true };
    try {
      prove(session);
      identified = { ...named, unproven: isUnconfirmed(session, options.access(), seconds(clock)) };
      const caller = callerNow(session, mayBeUnconfirmed);
      connections.belongs(request.socket);
      return granted({ ...identified, known: true }, caller);
    } catch (thrown) {
      return refused(identified, thrown);
    }
  };

  const byToken = (presented: Presented, source: string): Outcome<OperatorCaller> => {
    const { event, request } = presented;
    const given = /^bearer +(\S+)$/i.exec(request.headers.authorization ?? '')?.[1] ?? '';
    // Nothing is compared, so that there is nothing to guess, and a forgotten script does not lock out whoever shares its address.
    if (token === undefined && given !== '')
      return refused(event, new MeshpassError('break_glass_off', BREAK_GLASS_OFF));
    if (token === undefined || !equalInConstantTime(given, token)) {
      attempts.take(source);
      return refused(
        event,
        new MeshpassError('operator_unauthorized', 'An operator is required: sign in with meshpass login.'),
      );
    }
    connections.belongs(request.socket);
    options.onBreakGlass();
    const { subject } = BREAK_GLASS;
    return granted({ ...event, known: true, subject }, BREAK_GLASS);
  };

  const withStill = (
    mayBeUnconfirmed: boolean,
    authenticate: Authentication<OperatorCaller>,
  ): Authentication<OperatorCaller> =>
    Object.assign(authenticate, {
      still: (caller: OperatorCaller): OperatorCaller => {
        if (caller.sessionId === undefined) return caller;
        const session = sessions.byId(caller.sessionId);
        if (!session) throw ended('The session of this operator is over; run meshpass login.');
        return callerNow(session, mayBeUnconfirmed);
      },
    });

  const byHeader = (mayBeUnconfirmed: boolean): Authentication<OperatorCaller> =>
    withStill(mayBeUnconfirmed, (presented) => {
      const source = groupOf(sourceOf(presented.request));
      if (!attempts.has(source)) return refused(presented.event, tooMany());
      const session = SESSION.exec(presented.request.headers.authorization ?? '')?.[1];
      if (session === undefined) return byToken(presented, source);
      return bySession(presented, session, source, mayBeUnconfirmed, ({ jkt }) => {
        verifyDpop({ ...proofOf(presented), accessToken: session, jkt, replay: known });
      });
    });

  const byCookie = (mayBeUnconfirmed: boolean): Authentication<OperatorCaller> =>
    withStill(mayBeUnconfirmed, (presented) => {
      const source = groupOf(sourceOf(presented.request));
      if (!attempts.has(source)) return refused(presented.event, tooMany());
      const token = cookieOf(presented.request, SESSION_COOKIE) ?? '';
      if (!TOKEN.test(token)) return refused(presented.event, ended('You are not signed in here.'));
      return bySession(presented, token, source, mayBeUnconfirmed, (session) => {
        // A token that is bound to a key is worth nothing without it.
        if (!isOfPage(session)) throw ended('This session is not one of the page; sign in.');
      });
    });

  return {
    confirmations: options.confirmations,
    ...{ authentication: byHeader(false), unconfirmedAuthentication: byHeader(true) },
    ...{ pageAuthentication: byCookie(false), unconfirmedPageAuthentication: byCookie(true) },
    strangerAuthentication: ({ event, request }) =>
      attempts.has(groupOf(sourceOf(request))) ? granted(event, undefined) : refused(event, tooMany()),
    keyAuthentication: (presented) => {
      const source = groupOf(sourceOf(presented.request));
      if (!attempts.has(source)) return refused(presented.event, tooMany());
      return granted(presented.event, { jkt: verifyDpop({ ...proofOf(presented), source, replay: strangers }) });
    },
    failed: ({ source }) => void attempts.take(groupOf(source ?? 'unknown')),
  };
}

function ended(message: string): MeshpassError {
  return new MeshpassError('operator_session_ended', message);
}

function unconfirmed(issuer: string): MeshpassError {
  return new MeshpassError(
    'operator_unconfirmed',
    `${issuer} has to confirm that you are still you ("operators.confirm" of the access file): run meshpass login.`,
  );
}

function headerOf(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value.join(',') : value;
}
