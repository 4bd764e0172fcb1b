/** Messages that the broker and an agent exchange about the Kubernetes API. */
import { z } from 'zod';
import { compactJws, MAX_GRANTS, unixSeconds } from '../schema/fields.ts';
import { isDnsLabel } from '../spiffe.ts';
import { PEM_CERTIFICATES } from '../text.ts';

/** Maximum number of namespaces per grant that an agent receives for kubeconfig contexts and for display. */
export const MAX_ROLE_NAMESPACES = 100;
const label = z.string().refine(isDnsLabel, 'is not a valid Kubernetes name');

/** Grants of a session that have Kubernetes roles, and the API server's CA. */
export const KubernetesAccess = z.object({
  /** PEM. If absent, clients use the system roots. */
  certificate_authority: z.string().max(131_072).regex(PEM_CERTIFICATES).optional(),
  grants: z
    .array(z.object({ grant: label, namespaces: z.array(label).min(1).max(MAX_ROLE_NAMESPACES) }))
    .max(MAX_GRANTS),
});
export type KubernetesAccess = z.infer<typeof KubernetesAccess>;

/** Body of `POST /kubernetes/token`. */
export const KubernetesTokenRequest = z.object({ grant: z.string().min(1).max(63) });
export type KubernetesTokenRequest = z.infer<typeof KubernetesTokenRequest>;

/**
 * Response of `POST /kubernetes/token`: a token for the session's ServiceAccount under this grant. The API server is
 * its only audience.
 */
export const KubernetesTokenResponse = z.object({
  token: compactJws,
  /** Unix seconds. */
  expires_at: unixSeconds,
});
export type KubernetesTokenResponse = z.infer<typeof KubernetesTokenResponse>;
