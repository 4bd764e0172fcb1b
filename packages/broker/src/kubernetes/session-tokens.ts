/** Tokens with which sessions use the API server: of the session's own ServiceAccount, for the API server and nobody else. */
import { MeshpassError } from '@meshpass/identity';
import { z } from 'zod';
import type { Kubernetes } from './kubernetes.ts';

export interface KubernetesToken {
  readonly token: string;
  /** Unix seconds. */
  readonly expiresAt: number;
  /** `JTI=...`, as the API server's audit log names it (authentication.kubernetes.io/credential-id); absent before Kubernetes 1.29. */
  readonly credentialId: string | undefined;
}

export interface KubernetesTokens {
  /** PEM with which the API server is verified; absent: the roots of the system. */
  readonly certificateAuthority: string | undefined;
  /**
   * A TokenRequest. The token names the ServiceAccount's uid, so that it is worthless once the ServiceAccount is gone, whatever its
   * life; a token cannot be bound to more than that (Kubernetes binds tokens to Pods, Nodes and Secrets).
   * @throws MeshpassError `kubernetes_unavailable`, also while there is no such ServiceAccount: it is made with the first certificate
   */
  request(
    account: { readonly namespace: string; readonly serviceAccount: string },
    signal?: AbortSignal,
  ): Promise<KubernetesToken>;
}

/** The least that Kubernetes gives. */
const SECONDS = 600;
const Payload = z.object({ exp: z.number().int(), jti: z.string().max(128).optional() });

export function kubernetesTokens(
  kubernetes: Pick<Kubernetes, 'requestToken'>,
  audience: string,
  certificateAuthority: string | undefined,
): KubernetesTokens {
  return {
    certificateAuthority,
    request: async ({ namespace, serviceAccount }, signal) => {
      const token = await kubernetes.requestToken({ namespace, name: serviceAccount }, audience, SECONDS, signal);
      if (token === undefined)
        throw new MeshpassError(
          'kubernetes_unavailable',
          'The ServiceAccount of this grant is not there: it is made with its first certificate. Try again shortly.',
          { retryAfter: 2 },
        );
      return { token, ...claimsOf(token) };
    },
  };
}

/** Kubernetes signed it for us over TLS: it is read, not verified. */
function claimsOf(token: string): Pick<KubernetesToken, 'expiresAt' | 'credentialId'> {
  try {
    const { exp, jti } = Payload.parse(
      JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString('utf8')),
    );
    return { expiresAt: exp, credentialId: jti === undefined ? undefined : `JTI=${jti}` };
  } catch {
    // Never the token.
    throw new MeshpassError('kubernetes_unavailable', 'Kubernetes sent a token that is not understood.');
  }
}
