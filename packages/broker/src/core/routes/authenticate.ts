/**
 * Authenticates callers of the public API. Sessions are authenticated by their token and key (RFC 9449 section 7), and
 * clients without a session only by their key.
 */
import type { IncomingMessage } from 'node:http';
import { MeshpassError } from '@meshpass/identity';
import { sha256Hex } from '@meshpass/identity/hash';
import type { ReplayMemory } from '@meshpass/identity/limits/replay';
import { annotateEvent } from '../../audit/index.ts';
import { type Clock, toUnixSeconds } from '../../base/index.ts';
import type { Authentication, Connections } from '../../http/index.ts';
import { type Live, type LiveIndex, requireLiveSession, sessionClosedError, sessionMembers } from '../session/live.ts';
import { verifyDpop } from '../token/dpop.ts';

export interface AuthenticationContext {
  readonly live: LiveIndex;
  readonly connections: Pick<Connections, 'belongs'>;
  readonly publicUrl: string;
  readonly clock: Clock;
  /** When this process started, in Unix seconds. */
  readonly startedAt: number;
  /**
   * The caches of used proofs. They are separate, so that clients without a session cannot fill the cache for live
   * sessions.
   */
  readonly replay: { readonly strangers: ReplayMemory; readonly sessions: ReplayMemory };
}

/** A caller that has a live session. */
export interface SessionCaller {
  readonly live: Live;
  /** The session token that the caller presented. */
  readonly token: string;
}

const SCHEME = /^dpop +(mps_[A-Za-z0-9_-]{43})$/i;

/**
 * Requires `Authorization: DPoP TOKEN` and a proof that is signed with the session's key. All other requests are
 * rejected with `session_*`, `dpop_*` or `overloaded`.
 */
export function sessionAuthentication(context: AuthenticationContext): Authentication<SessionCaller> {
  const { live, replay, connections } = context;
  const authenticate: Authentication<SessionCaller> = ({ request, event, path }) => {
    const proof = header(request, 'dpop');
    if (proof !== undefined) annotateEvent(event, { proofHash: sha256Hex(proof) });
    const token = SCHEME.exec(request.headers.authorization ?? '')?.[1];
    if (token === undefined) throw sessionTokenMissingError();
    // Look up the session by the token's hash, so that timing differences can only reveal the hash, never the token.
    const hash = sha256Hex(token);
    const found = live.byToken(hash);
    if (!found) {
      const over = live.ended(hash);
      if (!over) throw new MeshpassError('session_unknown', 'Unknown session. Open a new one.');
      annotateEvent(event, { sessionId: over.id });
      throw sessionClosedError(over.cause);
    }
    const { session } = found;
    annotateEvent(event, sessionMembers(session));
    const { clock, startedAt, publicUrl } = context;
    const now = toUnixSeconds(clock);
    const expected = { method: request.method ?? '', url: publicUrl + path, accessToken: token, jkt: session.jkt };
    verifyDpop({ proof, ...expected, now, startedAt, replay: replay.sessions });
    requireLiveSession(found, now);
    connections.belongs(request.socket, session.id);
    return { live: found, token };
  };
  return Object.assign(authenticate, {
    still: (caller: SessionCaller): SessionCaller => {
      requireLiveSession(caller.live, toUnixSeconds(context.clock));
      return caller;
    },
  });
}

/** A caller that has proven possession of a key. */
export interface KeyCaller {
  /** The thumbprint of the caller's key (RFC 7638). */
  readonly jkt: string;
  /** The DPoP proof that the caller presented. */
  readonly dpop: string;
}

/**
 * Authenticates a client without a session by its key. The DPoP proof shows that the request was just made by the
 * holder of that key.
 */
export function keyAuthentication(context: AuthenticationContext): Authentication<KeyCaller> {
  const { replay, publicUrl, clock, startedAt } = context;
  return ({ request, path }) => {
    const expected = { method: request.method ?? '', url: publicUrl + path };
    const proof = header(request, 'dpop');
    const jkt = verifyDpop({
      proof,
      ...expected,
      now: toUnixSeconds(clock),
      startedAt,
      replay: replay.strangers,
    });
    return { jkt, dpop: proof ?? '' };
  };
}

/** Builds the error for a request that does not contain a session token. */
export function sessionTokenMissingError(): MeshpassError {
  return new MeshpassError('session_token_missing', 'The `Authorization: DPoP SESSION_TOKEN` header is required.');
}

function header(request: IncomingMessage, name: string): string | undefined {
  const value = request.headers[name];
  return Array.isArray(value) ? value.join(',') : value;
}
