/** Operators' refresh tokens. An ID token from a refresh confirms the operator; logout revokes the refresh token. */
import { MeshpassError } from '@meshpass/identity/error';
import * as oidc from 'openid-client';
import { discover, type Tokens, tokensOf, understood } from './id-token.ts';
import type { Refresh } from './session-file.ts';

/**
 * Requests new tokens (OpenID Connect Core section 12). The issuer may rotate the refresh token (RFC 9700 section
 * 4.14.2).
 * @returns undefined if the issuer permanently rejects the refresh token, because the person was disabled or has signed
 *   out or the token has expired. Also undefined if the issuer returns no ID token, which is optional; the refresh
 *   token is then revoked
 * @throws MeshpassError `issuer_unavailable`, `proof_rejected`, `request_timeout`
 */
export async function refreshTokens({ token, ...issuer }: Refresh): Promise<Tokens | undefined> {
  const config = await discover(issuer);
  return await understood(issuer, async () => {
    try {
      const given = await oidc.refreshTokenGrant(config, token);
      if (given.id_token !== undefined) return tokensOf(given);
      await revokeRefreshToken({ ...issuer, token: given.refresh_token ?? token });
      return undefined;
    } catch (thrown) {
      if (!(thrown instanceof oidc.ResponseBodyError)) throw thrown;
      const { status } = thrown;
      // A busy or failing issuer has not rejected the token.
      if (status < 500 && status !== 408 && status !== 429) return undefined;
      throw new MeshpassError('issuer_unavailable', `${issuer.issuer} returned status ${status}.`, { cause: thrown });
    }
  });
}

/**
 * Revokes a refresh token (RFC 7009).
 * @returns whether the issuer accepted the revocation
 */
export async function revokeRefreshToken({ token, ...issuer }: Refresh): Promise<boolean> {
  try {
    const config = await discover(issuer);
    if (config.serverMetadata().revocation_endpoint === undefined) return false;
    await oidc.tokenRevocation(config, token, { token_type_hint: 'refresh_token' });
    return true;
  } catch {
    return false;
  }
}
