/**
 * Authenticates callers of the public API. Sessions are authenticated by their token and key (RFC 9449 section 7), and
 * clients without a session only by their key.
 */
import type { IncomingMessage } from 'node:http';
import { MeshpassError, sha256Hex } from '@meshpass/identity';
import { annotateEvent } from '../../audit/index.ts';
import { toUnixSeconds } from '../../base/index.ts';
import type { Authentication, Presented } from '../../http/index.ts';
import type { SessionContext } from '../session/context.ts';
import { type Live, requireLiveSession, sessionClosedError, sessionMembers } from '../session/live.ts';
import { createDpopReplayMemory, type DpopRequest, verifyDpop } from '../token/verify-dpop.ts';

/**
 * The number of DPoP proofs to remember. This is enough for twice a thousand requests per second for as long as proofs
 * are valid.
 */
const REPLAY_CAPACITY = 150_000;
/** The maximum number of proofs to remember per session, so that a single session cannot fill the shared cache. */
const REPLAY_OF_SESSION = 10_000;

/** A caller that has a live session. */
export interface SessionCaller {
  readonly live: Live;
  /** The session token that the caller presented. */
  readonly token: string;
}

/** A caller that has proven possession of a key. */
export interface KeyCaller {
  /** The thumbprint of the caller's key (RFC 7638). */
  readonly jkt: string;
  /** The DPoP proof that the caller presented. */
  readonly dpop: string;
}

const SCHEME = /^dpop +(mps_[A-Za-z0-9_-]{43})$/i;

/** Creates the ways in which callers of the public API are authenticated. */
export function createAuthentication(context: SessionContext) {
  const { live, connections, config, clock, startedAt } = context;
  // The caches of used proofs are separate, so that clients without a session cannot fill the cache for live sessions.
  // If the cache for clients without a session is full, the broker forgets old proofs early instead of rejecting new
  // ones (decision 0015). It never forgets the proofs of sessions early.
  const strangers = createDpopReplayMemory(REPLAY_CAPACITY, 'forget');
  const sessions = createDpopReplayMemory(REPLAY_CAPACITY, 'refuse', REPLAY_OF_SESSION);
  const verify = (
    { request, path }: Pick<Presented, 'request' | 'path'>,
    expected: Pick<DpopRequest, 'replay' | 'accessToken' | 'jkt'>,
  ): string => {
    const at = { method: request.method ?? '', url: config.publicUrl + path, now: toUnixSeconds(clock), startedAt };
    return verifyDpop({ proof: proofIn(request), ...at, ...expected });
  };

  /**
   * Requires `Authorization: DPoP TOKEN` and a proof that is signed with the session's key. All other requests are
   * rejected with `session_*`, `dpop_*` or `overloaded`.
   */
  const authenticate: Authentication<SessionCaller> = (presented) => {
    const { request, event } = presented;
    const proof = proofIn(request);
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
    verify(presented, { replay: sessions, accessToken: token, jkt: session.jkt });
    requireLiveSession(found, toUnixSeconds(clock));
    connections.belongs(request.socket, session.id);
    return { live: found, token };
  };
  const still = (caller: SessionCaller): SessionCaller => {
    requireLiveSession(caller.live, toUnixSeconds(clock));
    return caller;
  };

  /**
   * Authenticates a client without a session by its key. The DPoP proof shows that the request was just made by the
   * holder of that key.
   */
  const key: Authentication<KeyCaller> = (presented) => {
    const jkt = verify(presented, { replay: strangers });
    return { jkt, dpop: proofIn(presented.request) ?? '' };
  };
  return { session: Object.assign(authenticate, { still }), key };
}

/** Builds the error for a request that does not contain a session token. */
export function sessionTokenMissingError(): MeshpassError {
  return new MeshpassError('session_token_missing', 'The `Authorization: DPoP SESSION_TOKEN` header is required.');
}

function proofIn({ headers }: IncomingMessage): string | undefined {
  const value = headers.dpop;
  return Array.isArray(value) ? value.join(',') : value;
}
