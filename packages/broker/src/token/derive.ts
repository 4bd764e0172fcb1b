/** `POST /token` with a session token: a JWT for one audience. */
import { ID_TOKEN_TYPE, JWT_TYPE, MeshpassError, type TokenResponse } from '@meshpass/identity';
import { type AuditContext, granted, type Outcome, recordGrant, refused } from '../audit/log/decision.ts';
import type { AuditEvent } from '../audit/log/event.ts';
import { seconds } from '../clock/clock.ts';
import type { MeshState } from '../reconcile/contract.ts';
import { equalInConstantTime } from '../secrets/constant-time.ts';
import { type Live, sessionClosed } from '../session/live.ts';
import type { TokenForm } from './form.ts';
import { type IssuedToken, identityToken, idToken, type TokenIssuer } from './identity-token.ts';

export interface DeriveContext {
  readonly audit: AuditContext;
  readonly issuer: TokenIssuer;
  readonly mesh: MeshState;
}

export interface DeriveRequest {
  readonly form: TokenForm;
  readonly live: Live;
  /** The one that the request was authenticated with. */
  readonly sessionToken: string;
  readonly event: AuditEvent;
}

/** @returns refused with `request_malformed`, `audience_not_allowed`, `session_closed`, `store_unavailable` */
export async function deriveToken(context: DeriveContext, request: DeriveRequest): Promise<Outcome<TokenResponse>> {
  const { form, live, sessionToken } = request;
  if (!equalInConstantTime(form.subjectToken, sessionToken))
    return refused(
      request.event,
      new MeshpassError('request_malformed', 'The subject token is not the session token of the request.'),
    );
  const type = form.requestedTokenType ?? JWT_TYPE;
  const asked = { ...request.event, target: form.audience ?? context.issuer.audience };
  let issued: IssuedToken;
  try {
    issued = await issue(context, form.audience, type, live);
  } catch (thrown) {
    return refused(asked, thrown);
  }
  const event = {
    ...asked,
    grant: live.session.grants.map((grant) => grant.name).join(','),
    reason: `${type === JWT_TYPE ? 'Identity token' : 'ID token'} of a live session.`,
    detail: { jti: issued.jti ?? 'as before', exp: issued.expiresAt },
  };
  const written = await recordGrant(context.audit, event);
  if (!written.granted) return written;
  // It may have ended while the token was signed and recorded.
  if (live.ended) return refused(event, sessionClosed(live.ended.cause));
  return granted(event, {
    access_token: issued.token,
    issued_token_type: type,
    token_type: 'N_A',
    expires_in: Math.max(0, issued.expiresAt - seconds(context.issuer.clock)),
  });
}

async function issue(
  { issuer, mesh }: DeriveContext,
  audience: string | undefined,
  type: string,
  live: Live,
): Promise<IssuedToken> {
  if (type === JWT_TYPE) {
    if (audience !== undefined && audience !== issuer.audience)
      throw new MeshpassError('audience_not_allowed', 'For another audience, request an ID token.');
    return await identityToken(issuer, live);
  }
  if (type !== ID_TOKEN_TYPE)
    throw new MeshpassError('request_malformed', 'The requested token type is not supported.');
  if (audience === undefined) throw new MeshpassError('request_malformed', 'An ID token needs the parameter audience.');
  // Neither the mesh nor the broker itself may be fooled with a token that was meant for somebody else.
  const own = audience === issuer.audience || audience === issuer.issuer;
  if (own || !mesh.access().trust.audiences.includes(audience))
    throw new MeshpassError('audience_not_allowed', 'The access file (trust.audiences) does not allow this audience.');
  return await idToken(issuer, live, audience);
}
