/**
 * Authenticates callers of the operator listener. Operators authenticate with a token and proof of its key (RFC 9449
 * section 7), or with the web page's cookie. If break-glass is enabled, callers may present its token instead.
 */
import { MeshpassError, sourceGroup, toMeshpassError } from '@meshpass/identity';
import { type AuditEvent, annotateEvent } from '../../audit/index.ts';
import { createRateAllowance, equalInConstantTime, toUnixSeconds } from '../../base/index.ts';
import { createDpopReplayMemory, verifyDpop } from '../../core/index.ts';
import type { Authentication, Connections, Presented } from '../../http/index.ts';
import { BREAK_GLASS_CALLER, type OperatorCaller, type OperatorSession } from './caller.ts';
import { requireRole } from './end-sessions.ts';
import { sessionHash } from './page/cookies.ts';
import type { OperatorSignInContext } from './sign-in.ts';

/** The dependencies of operator authentication. */
export interface OperatorsOptions extends OperatorSignInContext {
  /** The break-glass token. Undefined if break-glass is disabled, which is the default. */
  readonly token: string | undefined;
  /** When this process started, in Unix seconds. */
  readonly startedAt: number;
  /** Tracks the connections of the operator listener. */
  readonly connections: Pick<Connections, 'belongs'>;
  /** Called whenever the break-glass token is used. */
  readonly onBreakGlass: () => void;
}

/**
 * Returns the authentication for a route.
 * @param evenUnconfirmed whether to accept operators whose confirmation by the issuer is overdue
 */
export type OperatorAuthentication = (evenUnconfirmed: boolean) => Authentication<OperatorCaller>;

/** Authenticates the callers of the operator listener's routes. */
export type Operators = ReturnType<typeof createOperators>;

/** The rate limit for rejected sign-ins from a single source address. */
const REFUSED = { burst: 10, perSecond: 0.1 };
/** The maximum number of DPoP proofs to remember per window. There are few operators, so this is rarely reached. */
const REPLAY_CAPACITY = 20_000;
const BREAK_GLASS_OFF =
  'Break-glass is off, so this broker does not accept an operator token. Sign in with meshpass login (for automation, add --service-account-token FILE). ' +
  'If no operator can sign in, a broker administrator can turn break-glass on: --break-glass, or breakGlass.enabled in the chart.';
const TOKEN = /^dpop +([A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+)$/i;

/** Creates the authentication of operators. */
export function createOperators(options: OperatorsOptions) {
  const { operatorSessions, token, clock, startedAt, publicUrl, connections } = options;
  const questions = createRateAllowance({ ...REFUSED, clock });
  const strangers = createDpopReplayMemory(REPLAY_CAPACITY, 'forget');
  const known = createDpopReplayMemory(REPLAY_CAPACITY);
  const proofOf = ({ request }: Presented) => ({
    proof: request.headers.dpop?.toString(),
    method: request.method ?? '',
    // Operators connect through a port-forward, so this listener does not have a name of its own. Proofs are made for
    // the public URL instead.
    url: publicUrl + new URL(request.url ?? '/', publicUrl).pathname,
    now: toUnixSeconds(clock),
    startedAt,
  });

  /**
   * Returns a session's operator along with their current roles.
   * @throws MeshpassError `operator_session_ended`, `operator_unconfirmed`
   */
  const callerNow = (session: OperatorSession, evenUnconfirmed: boolean): OperatorCaller => {
    const state = operatorSessions.stateOf(session);
    if (state === 'ended') throw ended('This operator session has ended. Run meshpass login.');
    const caller = requireRole(options, session, options.access());
    if (state === 'confirmed' || evenUnconfirmed) return caller;
    const why = `${session.issuer} must confirm your identity again. Run meshpass login.`;
    throw new MeshpassError('operator_unconfirmed', why);
  };

  /**
   * Authenticates a session's operator.
   * @param prove throws unless the session's token or cookie was issued to this caller
   */
  const bySession = (
    { event, request }: Presented,
    session: OperatorSession,
    evenUnconfirmed: boolean,
    prove: () => void,
  ): OperatorCaller => {
    const { id, subject, login, issuer } = session;
    annotateEvent(event, { subject, login, issuer, unproven: true, detail: { operator_session: id } });
    prove();
    annotateEvent(event, { unproven: operatorSessions.stateOf(session) !== 'confirmed' });
    const caller = callerNow(session, evenUnconfirmed);
    connections.belongs(request.socket);
    annotateEvent(event, { known: true });
    return caller;
  };

  const byToken = ({ event, request }: Presented): OperatorCaller => {
    const given = /^bearer +(\S+)$/i.exec(request.headers.authorization ?? '')?.[1] ?? '';
    // If break-glass is disabled, the token is not compared with anything, so a guess reveals nothing.
    if (token === undefined && given !== '') throw new MeshpassError('break_glass_off', BREAK_GLASS_OFF);
    if (token === undefined || !equalInConstantTime(given, token))
      throw new MeshpassError(
        'operator_unauthorized',
        'Operator authentication is required. Sign in with meshpass login.',
      );
    connections.belongs(request.socket);
    options.onBreakGlass();
    annotateEvent(event, { known: true, subject: BREAK_GLASS_CALLER.subject });
    return BREAK_GLASS_CALLER;
  };

  const byHeader = async (presented: Presented, evenUnconfirmed: boolean): Promise<OperatorCaller> => {
    const { request, event } = presented;
    const accessToken = TOKEN.exec(request.headers.authorization ?? '')?.[1];
    if (accessToken === undefined) return byToken(presented);
    const session = { ...(await options.tokens.read(accessToken)), source: event.source };
    const caller = bySession(presented, session, evenUnconfirmed, () => {
      verifyDpop({ ...proofOf(presented), accessToken, jkt: session.jkt, replay: known });
    });
    operatorSessions.add(session);
    return caller;
  };

  const byCookie = (presented: Presented, evenUnconfirmed: boolean): OperatorCaller => {
    const session = operatorSessions.byCookie(sessionHash(presented.request));
    if (!session) throw ended('You are not signed in.');
    return bySession(presented, session, evenUnconfirmed, () => {});
  };

  const authenticationBy =
    (authenticate: typeof byHeader | typeof byCookie): OperatorAuthentication =>
    (evenUnconfirmed) =>
      Object.assign((presented: Presented) => authenticate(presented, evenUnconfirmed), {
        still: (caller: OperatorCaller) => (caller.session ? callerNow(caller.session, evenUnconfirmed) : caller),
      });

  /**
   * Runs a sign-in for an unauthenticated client whose proof is sent to Kubernetes or to an issuer. Only rejections by
   * Kubernetes or an issuer count towards the limit of the client's source address, because the broker can verify ID
   * tokens and session tokens on its own.
   * @throws MeshpassError `too_many_attempts` after ten rejections, and any error from `signIn`
   */
  const askOutside = async <T>(event: AuditEvent, signIn: () => Promise<T>): Promise<T> => {
    const source = sourceGroup(event.source ?? 'unknown');
    // Count the attempt up front, so that concurrent calls cannot exceed the limit.
    questions.spend(
      source,
      'Too many sign-ins from this address were rejected or are still in progress. Wait before you try again.',
    );
    let isRefusedOutside = false;
    try {
      return await signIn();
    } catch (thrown) {
      isRefusedOutside = toMeshpassError(thrown).detail.asked === true;
      throw thrown;
    } finally {
      if (!isRefusedOutside) questions.giveBack(source);
    }
  };

  return {
    askOutside,
    /**
     * Authenticates operators by their Authorization header. Wrong tokens are not rate-limited, because all
     * port-forwards share an address, and checking a guess costs only a single signature verification.
     * @throws MeshpassError `operator_unauthorized`, `break_glass_off`, `operator_session_ended`,
     *   `operator_unconfirmed`, `dpop_*`, `overloaded`
     */
    authentication: authenticationBy(byHeader),
    /**
     * Authenticates a browser by its session cookie.
     * @throws MeshpassError `operator_session_ended`, `operator_unconfirmed`
     */
    pageAuthentication: authenticationBy(byCookie),
    /**
     * Authenticates the key of a client that is signing in. The client must have just created the DPoP proof for this
     * request.
     * @throws MeshpassError `dpop_*`
     */
    keyAuthentication: (presented: Presented) => ({
      jkt: verifyDpop({ ...proofOf(presented), replay: strangers }),
    }),
  };
}

function ended(message: string): MeshpassError {
  return new MeshpassError('operator_session_ended', message);
}
