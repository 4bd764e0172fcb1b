/** The JWTs that a session may have: its identity token for the mesh, and ID tokens for other audiences. */
import { ATTESTED_CLAIMS, type ClaimValues, claimsRequired } from '@meshpass/access';
import type { Clock, Random } from '../clock/clock.ts';
import { seconds } from '../clock/clock.ts';
import type { MeshState } from '../reconcile/contract.ts';
import type { Live } from '../session/live.ts';
import type { Session } from '../session/session.ts';
import type { Signer } from './signer.ts';

export interface TokenIssuer {
  readonly signer: Signer;
  /** The broker's public URL. */
  readonly issuer: string;
  /** `aud` of identity tokens. */
  readonly audience: string;
  /** Seconds. */
  readonly life: number;
  readonly clock: Clock;
  readonly random: Random;
  /** Claims of a session's proof that endpoints demand; undefined while no access file is in force. */
  readonly attested: (session: Session) => ClaimValues | undefined;
}

export interface IssuedToken {
  readonly token: string;
  /** Unix seconds; never after the session's own end. */
  readonly expiresAt: number;
  /** Absent where the token is one that was signed earlier. */
  readonly jti?: string;
}

/** The token that rides on requests. The same one is given again while more than half of its life is left. */
export async function identityToken(issuer: TokenIssuer, live: Live): Promise<IssuedToken> {
  const now = seconds(issuer.clock);
  const kept = live.identityToken;
  if (kept && kept.freshUntil > now && issuer.signer.knows(kept.kid)) return kept;
  const { session } = live;
  const { claims, workspace, login } = session.attestation;
  const jti = issuer.random(16).toString('base64url');
  const expiresAt = Math.min(now + issuer.life, session.expiresAt);
  const { kid } = issuer.signer;
  const attested = issuer.attested(session);
  const token = await issuer.signer.sign({
    ...common(issuer, live, now, expiresAt, issuer.audience, jti),
    sid: session.id,
    grants: session.grants.map((grant) => grant.name),
    login,
    workspace: workspace.name,
    ...(typeof claims.email === 'string' ? { email: claims.email } : {}),
    ...(workspace.repository ? { repository: workspace.repository.fullName } : {}),
    ...(attested && Object.keys(attested).length > 0 ? { [ATTESTED_CLAIMS]: attested } : {}),
  });
  // Only if the session is still what the token says, and the token says all that is demanded.
  if (live.session === session && attested)
    live.identityToken = { token, kid, expiresAt, freshUntil: now + Math.floor((expiresAt - now) / 2) };
  return { token, expiresAt, jti };
}

/** An ID token for somebody outside of the mesh. It says no more than who and from where. */
export async function idToken(issuer: TokenIssuer, live: Live, audience: string): Promise<IssuedToken> {
  const now = seconds(issuer.clock);
  const { session } = live;
  const { workspace, login } = session.attestation;
  const jti = issuer.random(16).toString('base64url');
  const expiresAt = Math.min(now + issuer.life, session.expiresAt);
  const token = await issuer.signer.sign({
    ...common(issuer, live, now, expiresAt, audience, jti),
    login,
    ...(workspace.repository
      ? {
          repository: workspace.repository.fullName,
          repository_id: String(workspace.repository.id),
          repository_owner_id: String(workspace.repository.ownerId),
        }
      : {}),
  });
  return { token, expiresAt, jti };
}

function common(issuer: TokenIssuer, live: Live, now: number, exp: number, audience: string, jti: string) {
  // An array even for one audience: Envoy takes both, some of Istio's matching does not.
  const { subject } = live.session.attestation;
  return { iss: issuer.issuer, sub: subject, aud: [audience], iat: now, nbf: now, exp, jti };
}

/**
 * Claims of a session's proof that endpoints of its grants require.
 * @returns undefined while no access file is in force: what is required is not known
 */
export function attestedClaims(mesh: MeshState) {
  return ({ grants, attestation }: Session): ClaimValues | undefined => {
    if (!mesh.inForce()) return undefined;
    const names = grants.map(({ name }) => name);
    return claimsRequired(mesh.access(), names, attestation.claims);
  };
}
