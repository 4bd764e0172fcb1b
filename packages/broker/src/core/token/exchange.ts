/**
 * Exchanges a proof for a session in response to `POST /token` (RFC 8693). By this time, the route has already verified
 * the DPoP proof of the client's key. The steps are: attest the proof, authorize the attestation, store the session
 * with its audit row, and respond. A step that fails throws an error. This ends the exchange, and http/route.ts records
 * the refusal in the audit log.
 */
import { exchangeDigest, MeshpassError, sha256Hex } from '@meshpass/identity';
import type { SessionResponse } from '@meshpass/identity/wire';
import { type Presenter, parseSubjectToken } from '../../attest/index.ts';
import { type AuditEvent, annotateEvent, identityMembers } from '../../audit/index.ts';
import { toUnixSeconds } from '../../base/index.ts';
import { type AttestationResult, requirePrintable, unknownIssuerError } from '../../issuers/index.ts';
import { meshAccess, sessionInfo } from '../session/answers.ts';
import { authorizeSession, type Proven } from '../session/authorize.ts';
import type { SessionContext } from '../session/context.ts';
import { openSession } from '../session/lifecycle.ts';
import type { Live } from '../session/live.ts';
import { sessionExpiry } from '../session/session.ts';
import { touch } from '../session/touch.ts';
import type { TokenForm } from './form.ts';

/** A request from a client whose key has been verified. */
export interface ExchangeRequest {
  readonly form: TokenForm;
  /** The thumbprint of the key in the request's DPoP proof. The session is bound to this key. */
  readonly jkt: string;
  /** The DPoP proof that was sent with the request. */
  readonly dpop: string;
  /** Returns whether the client has closed its connection. */
  readonly hungUp: () => boolean;
  readonly event: AuditEvent;
}

/**
 * Exchanges a proof for a session.
 * @returns the session that was opened, and the response to its client
 * @throws MeshpassError `request_timeout`, and the errors of attest(), authorizeSession() and openSession()
 */
export async function exchangeProof(context: SessionContext, request: ExchangeRequest) {
  const attested = await attestProof(context, request);
  const { jkt, event } = request;
  // Exchanges for the same workspace run one after another, so that the later session replaces the earlier one both in
  // memory and in the store.
  return await context.writes.inTurn(attested.attestation.workspace.key, async (store) => {
    // The agent has timed out, and may already have received a session from a later request. That session must not be
    // replaced by one that no client would receive.
    if (request.hungUp())
      throw new MeshpassError('request_timeout', 'The client disconnected before its session was opened.');

    const authorized = await authorizeSession(context, { ...attested, jkt, event });
    const { session, token, access, checked } = authorized;
    const onLive = (live: Live) => {
      // Changes that were applied before the session was live did not affect it, so apply them now.
      if (context.mesh.access() !== access || context.losses.now() !== checked)
        touch(context, live).catch(context.onFailure);
      context.onOpened(live, access);
    };
    const { replay } = attested;
    const live = await openSession(context, { session, replay, event, onLive }, store);
    // If responding fails, the client never receives the token. The session then ends when its lease expires, or when
    // its workspace opens another one.
    return { live, answer: answer(context, live, token) };
  });
}

async function attestProof(context: SessionContext, request: ExchangeRequest): Promise<Proven> {
  const { form, jkt, dpop, event } = request;
  annotateEvent(event, { proofHash: sha256Hex(form.subjectToken) });
  try {
    refuseParameters(form);
    const proof = parseSubjectToken(form.subjectTokenType, form.subjectToken, form.codespaceName);
    const lossCount = context.losses.now();
    // The identity does not have to be printable here, because auditRow() takes care of that.
    const identified = (identity: Parameters<typeof identityMembers>[0]) =>
      annotateEvent(event, identityMembers(identity));
    const presenter = { jkt, source: event.source ?? '', presence: presenceOf(form, dpop), identified };
    const { replay: once, presence, ...attested } = await context.attest(proof, presenter);
    identified(attested.attestation);
    const proven = requirePrintable(attested.attestation);
    context.onEvidence({ attestation: proven });
    annotateEvent(event, { detail: { attestor: proven.attestor, workspace: proven.workspace, presence } });
    return { ...(await withSignIn(context, request, { attestation: proven, replay: once })), lossCount };
  } catch (thrown) {
    const codespaceId = thrown instanceof MeshpassError ? thrown.detail.codespace : undefined;
    if (typeof codespaceId === 'number') context.onEvidence({ codespaceId });
    throw thrown;
  }
}

/** Adds the sign-in that was sent along with the proof, if any. */
async function withSignIn(
  { attestSignIn }: SessionContext,
  { form: { signIn: given }, jkt }: ExchangeRequest,
  attested: AttestationResult,
): Promise<AttestationResult> {
  if (!given) return attested;
  if (!attestSignIn) throw unknownIssuerError(given.issuer);
  if (attested.replay)
    throw new MeshpassError(
      'request_malformed',
      'This proof cannot be combined with a sign-in. Open the session, then sign in.',
    );
  const { signIn, replay } = await attestSignIn(given.issuer, given.token, { jkt });
  return { attestation: { ...attested.attestation, signIns: [signIn] }, replay };
}

function presenceOf({ presence }: TokenForm, dpop: string): Presenter['presence'] {
  if (presence?.nonce === undefined) return presence && { exchange: exchangeDigest(dpop), port: presence.port };
  return { nonce: presence.nonce, port: presence.port };
}

function refuseParameters({ requestedTokenType, audience }: TokenForm): void {
  if (requestedTokenType !== undefined && requestedTokenType !== ACCESS_TOKEN)
    throw new MeshpassError(
      'request_malformed',
      'A proof can only be exchanged for a session. Omit requested_token_type.',
    );
  if (audience !== undefined)
    throw new MeshpassError('request_malformed', 'The audience parameter applies to session tokens, not to proofs.');
}

function answer(context: SessionContext, { session }: Live, token: string): SessionResponse {
  return {
    access_token: token,
    issued_token_type: ACCESS_TOKEN,
    token_type: 'DPoP',
    expires_in: sessionExpiry(session) - toUnixSeconds(context.clock),
    session: sessionInfo(context, session),
    ...meshAccess(context, session),
  };
}

const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token';
