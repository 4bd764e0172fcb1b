/**
 * Issues the tokens that sessions use at the API server. They belong to the session's ServiceAccount and are valid only
 * for the API server.
 */
import { MeshpassError } from '@meshpass/identity';
import { decodeJwt } from 'jose';
import { z } from 'zod';
import type { Kubernetes } from './kubernetes.ts';

export type KubernetesTokens = ReturnType<typeof createKubernetesTokens>;

const Payload = z.object({ exp: z.number().int(), jti: z.string().max(128).optional() });

/** Creates the issuer. */
export function createKubernetesTokens(
  kubernetes: Pick<Kubernetes, 'requestToken'>,
  audience: string,
  certificateAuthority: string | undefined,
) {
  return {
    /** PEM of the API server's CA. If absent, the system's roots are used. */
    certificateAuthority,
    /**
     * Requests a token. It contains the ServiceAccount's uid, so it becomes invalid when the ServiceAccount is deleted.
     * Otherwise, Kubernetes can bind tokens only to Pods, Nodes and Secrets.
     * @throws MeshpassError `kubernetes_unavailable`, also before the first certificate has created the ServiceAccount
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
 * Reads the claims. They are not verified, because Kubernetes returned the token to us over TLS.
 * @returns expiry in Unix seconds; `JTI=...`, as in the API server's audit log
 *   (authentication.kubernetes.io/credential-id), absent before Kubernetes 1.29
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
