/** Messages about the Kubernetes API that the broker and an agent exchange. */
import { z } from 'zod';
import { compactJws, MAX_GRANTS, unixSeconds } from './schema/fields.ts';
import { isDnsLabel } from './spiffe.ts';
import { PEM_CERTIFICATES } from './text.ts';

/**
 * The maximum number of namespaces per grant that are sent to an agent. The agent uses them in kubeconfig contexts and
 * displays them.
 */
export const MAX_ROLE_NAMESPACES = 100;
const label = z.string().refine(isDnsLabel, 'is not a valid Kubernetes name');

/** The grants of a session that have Kubernetes roles, and the CA of the API server. */
export const KubernetesAccess = z.object({
  /** The CA certificates in PEM format. If absent, clients use the system roots. */
  certificate_authority: z.string().max(131_072).regex(PEM_CERTIFICATES).optional(),
  grants: z
    .array(z.object({ grant: label, namespaces: z.array(label).min(1).max(MAX_ROLE_NAMESPACES) }))
    .max(MAX_GRANTS),
});
export type KubernetesAccess = z.infer<typeof KubernetesAccess>;

/** The request body of `POST /kubernetes/token`. */
export const KubernetesTokenRequest = z.object({ grant: z.string().min(1).max(63) });

/**
 * The response to `POST /kubernetes/token`: a token for the session's ServiceAccount under this grant. The API server
 * is its only audience.
 */
export const KubernetesTokenResponse = z.object({
  token: compactJws,
  /** When the token expires, in Unix seconds. */
  expires_at: unixSeconds,
});
export type KubernetesTokenResponse = z.infer<typeof KubernetesTokenResponse>;
