/** Kubernetes and Istio: the cluster, istiod's certificates, and Envoy's configuration. */

// State of the mesh, and what the broker applies to it.

export { type DiskFile, digestOfTexts } from './reconcile/access-file.ts';
export type { MeshState, PolicyMesh, Revoker } from './reconcile/contract.ts';
export type { KeptAccess } from './reconcile/mesh-state.ts';
export type { PolicyDecisions } from './reconcile/policy-decisions.ts';
export type { ClusterObject } from './reconcile/policy-resources.ts';
export type { RevokedPrincipal } from './reconcile/revocation/revoker.ts';

// istiod's certificates.

export { type CertificateAuthority, LONGEST_SVID_SECONDS, type SignRequest } from './istiod/authority.ts';
export { checkCsr } from './istiod/check-csr.ts';
export { rootLives } from './istiod/roots.ts';
export { fingerprint, type SignedCertificate } from './istiod/verify-certificate.ts';

// Envoy's configuration.

export { type Configurations, createConfigurations } from './xds/relay.ts';
export type { RelaySource } from './xds/relay-source.ts';

// Kubernetes API.

export { connectKubernetes, type KubernetesHttp, path } from './kubernetes/http.ts';
export type { KubernetesTokens } from './kubernetes/session-tokens.ts';
