/** A session request: `Authorization: DPoP TOKEN` and a proof by the session's own key (RFC 9449 section 7). */
import { MeshpassError } from '@meshpass/identity';
import { sha256Hex } from '@meshpass/identity/hash';
import type { Draft } from '../audit/log/event.ts';
import type { Live, LiveIndex } from '../session/live.ts';
import { CLOSED_BECAUSE, type CloseCause } from '../store/close-causes.ts';
import { type DpopRequest, verifyDpop } from '../token/dpop.ts';

export interface SessionRequest extends Omit<DpopRequest, 'accessToken' | 'jkt'> {
  readonly authorization: string | undefined;
}

const SCHEME = /^dpop +(mps_[A-Za-z0-9_-]{43})$/i;

/**
 * @param draft learns whose request it is, also where it is refused
 * @throws MeshpassError `session_*`, `dpop_*`, `overloaded`
 */
export function authenticateSession(
  live: LiveIndex,
  request: SessionRequest,
  draft: Draft,
): { live: Live; token: string } {
  if (request.proof !== undefined) draft.proofHash = sha256Hex(request.proof);
  const token = SCHEME.exec(request.authorization ?? '')?.[1];
  if (token === undefined)
    throw new MeshpassError('session_token_missing', 'The request needs `Authorization: DPoP SESSION_TOKEN`.');
  // By hash: what a timing difference in the lookup could tell is of a hash, not of the token.
  const hash = sha256Hex(token);
  const found = live.byToken(hash);
  if (!found) {
    const over = live.ended(hash);
    if (!over) throw new MeshpassError('session_unknown', 'The broker does not know this session; open a new one.');
    draft.sessionId = over.id;
    throw closed(over.cause);
  }
  const { session } = found;
  draft.sessionId = session.id;
  draft.subject = session.attestation.subject;
  draft.login = session.attestation.login;
  draft.issuer = session.attestation.issuer;
  draft.workspace = session.attestation.workspace.key;
  verifyDpop({ ...request, accessToken: token, jkt: session.jkt });
  // The sweep comes four times a second; until then these are over all the same.
  if (session.expiresAt <= request.now) throw closed('expired');
  if (found.leaseUntil <= request.now) throw closed('lease_lapsed');
  return { live: found, token };
}

function closed(cause: CloseCause): MeshpassError {
  return new MeshpassError('session_closed', `The session is over: ${CLOSED_BECAUSE[cause]}. Open a new one.`);
}
