/** Refresh tokens of operators: a fresh ID token by which the issuer confirms them, and the end of it. */
import { MeshpassError } from '@meshpass/identity/error';
import * as oidc from 'openid-client';
import { discover, type Tokens, tokensOf, understood } from './id-token.ts';
import type { Refresh } from './session-file.ts';

/**
 * OpenID Connect Core section 12. The refresh token may be another one from then on (RFC 9700 section 4.14.2).
 * @returns undefined where the issuer refuses the refresh token for good: the person is disabled there, has signed out, or it is too old; and
 *   where it gives no ID token for it, which it need not: then what it gave is taken back
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
      // An issuer that is busy, or broken, has not refused.
      if (status < 500 && status !== 408 && status !== 429) return undefined;
      throw new MeshpassError('issuer_unavailable', `${issuer.issuer} answered ${status}.`, { cause: thrown });
    }
  });
}

/** RFC 7009. @returns whether the issuer took it back */
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
