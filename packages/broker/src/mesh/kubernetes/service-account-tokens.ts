/**
 * Issues the tokens that sessions use to access the API server. These are tokens for the session's ServiceAccount that
 * are only valid for the API server.
 */
import { MeshpassError } from '@meshpass/identity';
import { decodeJwt } from 'jose';
import { z } from 'zod';
import type { Kubernetes } from './kubernetes.ts';

export type KubernetesTokens = ReturnType<typeof createKubernetesTokens>;

const Payload = z.object({ exp: z.number().int(), jti: z.string().max(128).optional() });

/** Creates the object that issues API server tokens to sessions. */
export function createKubernetesTokens(
  kubernetes: Pick<Kubernetes, 'requestToken'>,
  audience: string,
  certificateAuthority: string | undefined,
) {
  return {
    /** The API server's CA certificate in PEM format. If undefined, clients use the system roots. */
    certificateAuthority,
    /**
     * Requests a token for a session. The token contains the UID of the ServiceAccount, so it becomes invalid when the
     * ServiceAccount is deleted. Apart from this, Kubernetes can only bind tokens to Pods, Nodes and Secrets.
     * @throws MeshpassError `kubernetes_unavailable`, also if the ServiceAccount does not exist yet because no
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
 * Reads the claims of a token. They do not have to be verified, because Kubernetes returned the token over TLS.
 * @returns the expiry in Unix seconds, and the credential ID as `JTI=...`, which is the format used in the API server's
 *   audit log (authentication.kubernetes.io/credential-id). Kubernetes versions before 1.29 do not provide this ID.
 */
function claimsOf(token: string) {
  try {
    const { exp, jti } = Payload.parse(decodeJwt(token));
    return { expiresAt: exp, credentialId: jti === undefined ? undefined : `JTI=${jti}` };
  } catch {
    // The original error is dropped so that the token never appears in an error.
    throw new MeshpassError('kubernetes_unavailable', 'Kubernetes returned a token in an unexpected format.');
  }
}
