/** Messages about the Kubernetes API between broker and agent. */
import { z } from 'zod';
import { compactJws, MAX_GRANTS, unixSeconds } from '../schema/fields.ts';
import { isDnsLabel } from '../spiffe.ts';
import { PEM_CERTIFICATES } from '../text.ts';

/** Maximum namespaces per grant sent to an agent, for kubeconfig contexts and for display. */
export const MAX_ROLE_NAMESPACES = 100;
const label = z.string().refine(isDnsLabel, 'is not a valid Kubernetes name');

/** A session's grants that have Kubernetes roles, and the API server's CA. */
export const KubernetesAccess = z.object({
  /** PEM. If absent, the system roots apply. */
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
 * Response of `POST /kubernetes/token`: a token of the session's ServiceAccount under this grant, with the API server
 * as its only audience.
 */
export const KubernetesTokenResponse = z.object({
  token: compactJws,
  /** Unix seconds. */
  expires_at: unixSeconds,
});
export type KubernetesTokenResponse = z.infer<typeof KubernetesTokenResponse>;
