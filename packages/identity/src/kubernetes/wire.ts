/** What broker and agent say to each other of the Kubernetes API. */
import { z } from 'zod';
import { isDnsLabel } from '../spiffe.ts';
import { CERTIFICATES } from '../text.ts';

const MAX_GRANTS = 32;
/** Namespaces of one grant that an agent is told of: for the context of a kubeconfig, and for people. */
export const MAX_ROLE_NAMESPACES = 100;
const label = z.string().refine(isDnsLabel, 'is not a name of Kubernetes');

/** Which grants of a session have roles in Kubernetes, and how its API server is verified. */
export const KubernetesAccess = z.object({
  /** PEM; absent: by the roots of the system. */
  certificate_authority: z.string().max(131_072).regex(CERTIFICATES).optional(),
  grants: z
    .array(z.object({ grant: label, namespaces: z.array(label).min(1).max(MAX_ROLE_NAMESPACES) }))
    .max(MAX_GRANTS),
});
export type KubernetesAccess = z.infer<typeof KubernetesAccess>;

/** `POST /kubernetes/token` */
export const KubernetesTokenRequest = z.object({ grant: z.string().min(1).max(63) });
export type KubernetesTokenRequest = z.infer<typeof KubernetesTokenRequest>;

/** Its answer: a token of the ServiceAccount of the session under this grant, for the API server alone. */
export const KubernetesTokenResponse = z.object({
  token: z
    .string()
    .max(16_384)
    .regex(/^[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+){2}$/),
  /** Unix seconds. */
  expires_at: z.number().int().nonnegative().max(253_402_300_799),
});
export type KubernetesTokenResponse = z.infer<typeof KubernetesTokenResponse>;
