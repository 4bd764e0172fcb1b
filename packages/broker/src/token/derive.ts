/** `POST /token` with a session token: a JWT for one audience. */
import { ID_TOKEN_TYPE, JWT_TYPE, MeshpassError, type TokenResponse } from '@meshpass/identity';
import type { Commit } from '../audit/log/audited.ts';
import type { Draft } from '../audit/log/event.ts';
import { seconds } from '../clock/clock.ts';
import type { MeshState } from '../reconcile/contract.ts';
import { equalInConstantTime } from '../secrets/constant-time.ts';
import type { Live } from '../session/live.ts';
import { CLOSED_BECAUSE } from '../store/close-causes.ts';
import type { TokenForm } from './form.ts';
import { type IssuedToken, identityToken, idToken, type TokenIssuer } from './identity-token.ts';

export interface DeriveContext {
  readonly issuer: TokenIssuer;
  readonly mesh: MeshState;
}

/**
 * @param sessionToken the one that the request was authenticated with
 * @throws MeshpassError `request_malformed`, `audience_not_allowed`, `session_closed`, `store_unavailable`
 */
export async function deriveToken(
  context: DeriveContext,
  form: TokenForm,
  live: Live,
  sessionToken: string,
  draft: Draft,
  commit: Commit,
): Promise<TokenResponse> {
  if (!equalInConstantTime(form.subjectToken, sessionToken))
    throw new MeshpassError('request_malformed', 'The subject token is not the session token of the request.');
  const type = form.requestedTokenType ?? JWT_TYPE;
  const issued = await issue(context, form, type, live, draft);
  draft.grant = live.session.grants.map((grant) => grant.name).join(',');
  draft.reason = `${type === JWT_TYPE ? 'Identity token' : 'ID token'} of a live session.`;
  draft.detail = { jti: issued.jti ?? 'as before', exp: issued.expiresAt };
  await commit();
  // It may have ended while the token was signed and recorded.
  if (live.ended)
    throw new MeshpassError(
      'session_closed',
      `The session is over: ${CLOSED_BECAUSE[live.ended.cause]}. Open a new one.`,
    );
  return {
    access_token: issued.token,
    issued_token_type: type,
    token_type: 'N_A',
    expires_in: Math.max(0, issued.expiresAt - seconds(context.issuer.clock)),
  };
}

async function issue(
  { issuer, mesh }: DeriveContext,
  form: TokenForm,
  type: string,
  live: Live,
  draft: Draft,
): Promise<IssuedToken> {
  const { audience } = form;
  draft.target = audience ?? issuer.audience;
  if (type === JWT_TYPE) {
    if (audience !== undefined && audience !== issuer.audience)
      throw new MeshpassError('audience_not_allowed', 'For another audience, ask for an ID token.');
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
