/** Issues a JWT for a single audience in response to a `POST /token` request that presents a session token. */
import { ID_TOKEN_TYPE, JWT_TOKEN_TYPE, MeshpassError, type TokenResponse } from '@meshpass/identity';
import { type AuditEvent, annotateEvent, recordAllowed } from '../../audit/index.ts';
import { toUnixSeconds } from '../../base/index.ts';
import { type Live, sessionClosedError } from '../session/live.ts';
import { grantsOf } from '../session/session.ts';
import { type IssuedToken, issueIdentityToken, issueIdToken, type TokenContext } from './identity-token.ts';

/** An authenticated request for a token. */
export interface DeriveRequest {
  readonly live: Live;
  readonly audience?: string | undefined;
  /** The requested token type (RFC 8693 section 3). Defaults to a JWT for the mesh. */
  readonly type?: string | undefined;
  readonly event: AuditEvent;
}

/**
 * Issues either an identity token, or an ID token for an audience that the access file allows.
 * @throws MeshpassError `request_malformed`, `audience_not_allowed`, `session_closed`, `store_unavailable`
 */
export async function deriveToken(context: TokenContext, request: DeriveRequest): Promise<TokenResponse> {
  const { live, audience, type = JWT_TOKEN_TYPE, event } = request;
  annotateEvent(event, { target: audience ?? context.config.tokenAudience });
  const issued = await issue(context, audience, type, live);
  annotateEvent(event, {
    grant: grantsOf(live.session).join(','),
    reason: `${type === JWT_TOKEN_TYPE ? 'Identity token' : 'ID token'} for a live session.`,
    detail: { jti: issued.jti ?? 'as before', exp: issued.expiresAt },
  });
  await recordAllowed(context.audit, event);
  // The session may have ended while the token was being signed and recorded.
  if (live.ended) throw sessionClosedError(live.ended.cause);
  return {
    access_token: issued.token,
    issued_token_type: type,
    token_type: 'N_A',
    expires_in: Math.max(0, issued.expiresAt - toUnixSeconds(context.clock)),
  };
}

async function issue(
  context: TokenContext,
  audience: string | undefined,
  type: string,
  live: Live,
): Promise<IssuedToken> {
  const { publicUrl, tokenAudience } = context.config;
  if (type === JWT_TOKEN_TYPE) {
    if (audience !== undefined && audience !== tokenAudience)
      throw new MeshpassError('audience_not_allowed', 'To use a different audience, request an ID token.');
    return await issueIdentityToken(context, live);
  }
  if (type !== ID_TOKEN_TYPE)
    throw new MeshpassError('request_malformed', 'The requested token type is not supported.');
  if (audience === undefined)
    throw new MeshpassError('request_malformed', 'An ID token requires the audience parameter.');
  // Tokens for other parties must never be valid for the mesh or the broker itself.
  const own = audience === tokenAudience || audience === publicUrl;
  if (own || !context.mesh.access().trust.audiences.includes(audience))
    throw new MeshpassError('audience_not_allowed', 'The access file (trust.audiences) does not allow this audience.');
  return await issueIdToken(context, live, audience);
}
