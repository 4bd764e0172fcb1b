/**
 * Issues a session's JWTs in response to a `POST /token` request that presents a session token: its identity token for
 * the mesh, and ID tokens for other audiences.
 */
import { ATTESTED_CLAIMS, claimsRequired } from '@meshpass/access';
import { ID_TOKEN_TYPE, JWT_TOKEN_TYPE, MeshpassError } from '@meshpass/identity';
import type { TokenResponse } from '@meshpass/identity/wire';
import { type AuditEvent, annotateEvent, recordAllowed } from '../../audit/index.ts';
import { toUnixSeconds } from '../../base/index.ts';
import type { SessionContext } from '../session/context.ts';
import { type Live, sessionClosedError } from '../session/live.ts';
import { grantsOf, type Session, sessionExpiry } from '../session/session.ts';

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
export async function deriveToken(context: SessionContext, request: DeriveRequest): Promise<TokenResponse> {
  const { live, audience, type = JWT_TOKEN_TYPE, event } = request;
  annotateEvent(event, { target: audience ?? context.config.tokenAudience });
  const issued = await issue(context, live, type, audience);
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

/** A signed token and its expiry. */
interface IssuedToken {
  readonly token: string;
  /** When the token expires, in Unix seconds. Never later than the session's expiry. */
  readonly expiresAt: number;
  /** The id of the token. Absent if the token was issued by an earlier call. */
  readonly jti?: string;
}

async function issue(context: SessionContext, live: Live, type: string, audience: string | undefined) {
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
  return await issueIdToken(context, live.session, audience);
}

/**
 * Issues the token that requests in the mesh carry. If more than half of the cached token's lifetime remains, that
 * token is returned instead.
 */
async function issueIdentityToken(context: SessionContext, live: Live): Promise<IssuedToken> {
  const { mesh, signer, config } = context;
  const now = toUnixSeconds(context.clock);
  const kept = live.identityToken;
  if (kept && kept.freshUntil > now && signer.knows(kept.kid)) return kept;
  const { session } = live;
  const { claims, workspace, login } = session.attestation;
  const { kid } = signer;
  // Until an access file is in effect, it is unknown which claims the endpoints require.
  const attested = mesh.inForce() ? claimsRequired(mesh.access(), grantsOf(session), claims) : undefined;
  const issued = await sign(context, session, config.tokenAudience, {
    sid: session.id,
    grants: grantsOf(session),
    login,
    workspace: workspace.name,
    ...(typeof claims.email === 'string' && claims.email_verified === true && { email: claims.email }),
    ...(workspace.repository ? { repository: workspace.repository.fullName } : {}),
    ...(attested && Object.keys(attested).length > 0 ? { [ATTESTED_CLAIMS]: attested } : {}),
  });
  const { token, expiresAt } = issued;
  // Cache the token only if it matches the current session and includes all required claims.
  if (live.session === session && attested)
    live.identityToken = { token, kid, expiresAt, freshUntil: now + Math.floor((expiresAt - now) / 2) };
  return issued;
}

/** Issues an ID token for an audience outside the mesh. The token reveals only the user and the workspace. */
async function issueIdToken(context: SessionContext, session: Session, audience: string): Promise<IssuedToken> {
  const { workspace, login } = session.attestation;
  return await sign(context, session, audience, {
    login,
    ...(workspace.repository
      ? {
          repository: workspace.repository.fullName,
          repository_id: String(workspace.repository.id),
          repository_owner_id: String(workspace.repository.ownerId),
        }
      : {}),
  });
}

async function sign(context: SessionContext, session: Session, audience: string, claims: object): Promise<IssuedToken> {
  const now = toUnixSeconds(context.clock);
  const jti = context.random(16).toString('base64url');
  const expiresAt = Math.min(now + context.config.tokenSeconds, sessionExpiry(session));
  const { subject } = session.attestation;
  // `aud` is an array even if there is only one audience. Envoy accepts both forms, but some of Istio's matchers accept
  // only arrays.
  const common = {
    iss: context.config.publicUrl,
    sub: subject,
    aud: [audience],
    iat: now,
    nbf: now,
    exp: expiresAt,
    jti,
  };
  return { token: await context.signer.sign({ ...common, ...claims }), expiresAt, jti };
}
