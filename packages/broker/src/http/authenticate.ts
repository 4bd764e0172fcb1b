/** Who calls the public API: a session by its token and its key (RFC 9449 section 7), or a stranger by a key alone. */
import type { IncomingMessage } from 'node:http';
import { MeshpassError } from '@meshpass/identity';
import { sha256Hex } from '@meshpass/identity/hash';
import { granted, refused } from '../audit/log/decision.ts';
import { type Clock, seconds } from '../clock/clock.ts';
import { groupOf } from '../limits/source-address.ts';
import { sessionMembers } from '../session/lifecycle.ts';
import { type Live, type LiveIndex, sessionClosed } from '../session/live.ts';
import { verifyDpop } from '../token/dpop.ts';
import type { ReplayMemory } from '../token/replay.ts';
import type { Connections } from './connections.ts';
import type { Authentication } from './route.ts';

export interface AuthenticationContext {
  readonly live: LiveIndex;
  readonly connections: Pick<Connections, 'belongs'>;
  readonly publicUrl: string;
  readonly clock: Clock;
  /** Unix seconds at which this process started. */
  readonly startedAt: number;
  /** Strangers and sessions do not share a memory: who holds no session cannot fill the one of those that do. */
  readonly replay: { readonly strangers: ReplayMemory; readonly sessions: ReplayMemory };
}

export interface SessionCaller {
  readonly live: Live;
  /** The session token that was presented. */
  readonly token: string;
}

const SCHEME = /^dpop +(mps_[A-Za-z0-9_-]{43})$/i;

/** `Authorization: DPoP TOKEN` and a proof by the session's own key. Refuses with `session_*`, `dpop_*`, `overloaded`. */
export function sessionAuthentication(context: AuthenticationContext): Authentication<SessionCaller> {
  const { live, replay, connections } = context;
  const authenticate: Authentication<SessionCaller> = ({ request, event, path }) => {
    const proof = header(request, 'dpop');
    const presented = proof === undefined ? event : { ...event, proofHash: sha256Hex(proof) };
    const token = SCHEME.exec(request.headers.authorization ?? '')?.[1];
    if (token === undefined) return refused(presented, sessionTokenMissing());
    // By hash: what a timing difference in the lookup could tell is of a hash, not of the token.
    const hash = sha256Hex(token);
    const found = live.byToken(hash);
    if (!found) {
      const over = live.ended(hash);
      if (over) return refused({ ...presented, sessionId: over.id }, sessionClosed(over.cause));
      const unknown = 'The session is unknown; open a new one.';
      return refused(presented, new MeshpassError('session_unknown', unknown));
    }
    const { session } = found;
    const identified = { ...presented, ...sessionMembers(session) };
    const { clock, startedAt, publicUrl } = context;
    const now = seconds(clock);
    const expected = { method: request.method ?? '', url: publicUrl + path, accessToken: token, jkt: session.jkt };
    try {
      verifyDpop({ proof, ...expected, now, startedAt, replay: replay.sessions });
      refuseOver(found, now);
    } catch (thrown) {
      return refused(identified, thrown);
    }
    connections.belongs(request.socket, session.id);
    return granted(identified, { live: found, token });
  };
  return Object.assign(authenticate, {
    still: (caller: SessionCaller): SessionCaller => {
      refuseOver(caller.live, seconds(context.clock));
      return caller;
    },
  });
}

/** @throws MeshpassError `session_closed` */
function refuseOver({ session, leaseUntil, ended }: Live, now: number): void {
  if (ended) throw sessionClosed(ended.cause);
  // The sweep comes four times a second; until then these are over all the same.
  if (session.expiresAt <= now) throw sessionClosed('expired');
  if (leaseUntil <= now) throw sessionClosed('lease_lapsed');
}

export interface KeyCaller {
  /** Thumbprint of the key (RFC 7638). */
  readonly jkt: string;
  /** The proof itself. */
  readonly dpop: string;
}

/** A stranger's key: a proof that was made for this request just now, by whoever has the key. */
export function keyAuthentication(context: AuthenticationContext): Authentication<KeyCaller> {
  const { replay, publicUrl, clock, startedAt } = context;
  return ({ request, event, path }) => {
    const expected = { method: request.method ?? '', url: publicUrl + path };
    const proof = header(request, 'dpop');
    const jkt = verifyDpop({
      ...{ proof, ...expected, now: seconds(clock), startedAt },
      ...{ source: groupOf(event.source ?? 'unknown'), replay: replay.strangers },
    });
    return granted(event, { jkt, dpop: proof ?? '' });
  };
}

export function sessionTokenMissing(): MeshpassError {
  return new MeshpassError(
    'session_token_missing',
    'The request needs the header `Authorization: DPoP SESSION_TOKEN`.',
  );
}

function header(request: IncomingMessage, name: string): string | undefined {
  const value = request.headers[name];
  return Array.isArray(value) ? value.join(',') : value;
}
