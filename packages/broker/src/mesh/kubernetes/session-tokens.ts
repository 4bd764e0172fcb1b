/**
 * Issues the tokens that sessions use for the API server. They are ServiceAccount tokens of the session, and are valid
 * only for the API server.
 */
import { MeshpassError } from '@meshpass/identity';
import { decodeJwt } from 'jose';
import { z } from 'zod';
import type { Kubernetes } from './kubernetes.ts';

export type KubernetesTokens = ReturnType<typeof createKubernetesTokens>;

const Payload = z.object({ exp: z.number().int(), jti: z.string().max(128).optional() });

/** Creates the token issuer. */
export function createKubernetesTokens(
  kubernetes: Pick<Kubernetes, 'requestToken'>,
  audience: string,
  certificateAuthority: string | undefined,
) {
  return {
    /** CA of the API server, PEM. If absent, clients use the system roots. */
    certificateAuthority,
    /**
     * Requests a token. The token contains the uid of the ServiceAccount, so it becomes invalid when the ServiceAccount
     * is deleted. Apart from this, Kubernetes can bind tokens only to Pods, Nodes and Secrets.
     * @throws MeshpassError `kubernetes_unavailable`, including when the ServiceAccount does not exist yet because no
     *   certificate has been requested
     */
    request: async (
      { namespace, serviceAccount }: { readonly namespace: string; readonly serviceAccount: string },
      signal?: AbortSignal,
    ) => {
      const token = await kubernetes.requestToken({ namespace, name: serviceAccount }, audience, signal);
      if (token === undefined)
        throw new MeshpassError(
          'kubernetes_unavailable',
          "This grant's ServiceAccount does not exist yet. It is created with the first certificate. Try again shortly.",
          { retryAfter: 2 },
        );
      return { token, ...claimsOf(token) };
    },
  };
}

/**
 * Reads the claims of a token. They are not verified, because Kubernetes returned the token over TLS.
 * @returns the expiry in Unix seconds, and the credential id as `JTI=...`, the format in the API server's audit log
 *   (authentication.kubernetes.io/credential-id). The id is absent before Kubernetes 1.29
 */
function claimsOf(token: string) {
  try {
    const { exp, jti } = Payload.parse(decodeJwt(token));
    return { expiresAt: exp, credentialId: jti === undefined ? undefined : `JTI=${jti}` };
  } catch {
    // The error never contains the token.
    throw new MeshpassError('kubernetes_unavailable', 'Kubernetes returned a token in an unexpected format.');
  }
}
