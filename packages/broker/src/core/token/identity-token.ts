/** Issues a session's JWTs: its identity token for the mesh, and ID tokens for other audiences. */
import { ATTESTED_CLAIMS, claimsRequired } from '@meshpass/access';
import { toUnixSeconds } from '../../base/index.ts';
import type { SessionContext } from '../session/context.ts';
import type { Live } from '../session/live.ts';
import { grantsOf, type Session, sessionExpiry } from '../session/session.ts';
import type { RotatingSigner } from './signer.ts';

/** The dependencies of token issuance. */
export interface TokenContext extends SessionContext {
  readonly signer: Pick<RotatingSigner, 'sign' | 'kid' | 'knows'>;
  readonly config: {
    /** The `iss` claim of all tokens. */
    readonly publicUrl: string;
    /** The `aud` claim of identity tokens. */
    readonly tokenAudience: string;
  };
}

/** A signed token and its expiry. */
export interface IssuedToken {
  readonly token: string;
  /** When the token expires, in Unix seconds. Never later than the session's expiry. */
  readonly expiresAt: number;
  /** The id of the token. Absent if the token was issued by an earlier call. */
  readonly jti?: string;
}

/**
 * Issues the token that requests in the mesh carry. If more than half of the cached token's lifetime remains, that
 * token is returned instead.
 */
export async function issueIdentityToken(context: TokenContext, live: Live): Promise<IssuedToken> {
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
export async function issueIdToken(context: TokenContext, { session }: Live, audience: string): Promise<IssuedToken> {
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

async function sign(context: TokenContext, session: Session, audience: string, claims: object): Promise<IssuedToken> {
  const now = toUnixSeconds(context.clock);
  const jti = context.random(16).toString('base64url');
  const expiresAt = Math.min(now + context.tokenSeconds, sessionExpiry(session));
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
