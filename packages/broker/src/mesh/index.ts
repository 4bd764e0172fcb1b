/**
 * Connects the broker to Kubernetes and Istio. Covers access to the cluster, istiod's certificates and Envoy's
 * configuration.
 */

// The state of the mesh, and the changes that the broker makes to it.

export { type AccessTexts, type DiskFile, digestTexts } from './reconcile/access-file.ts';
export type { MeshState, PolicyMesh, Revoker } from './reconcile/connect-mesh.ts';
export type { FormerAccessFile } from './reconcile/mesh-state.ts';
export type { PolicyDecisions } from './reconcile/policy-decisions.ts';
export type { RevokedPrincipal } from './reconcile/revocation/revoker.ts';
export { startReconciler } from './reconciler.ts';

// istiod's certificates.

export { type CertificateAuthority, MAX_SVID_SECONDS, type SignRequest } from './istiod/authority.ts';
export { checkCsr } from './istiod/check-csr.ts';
export { rootLifetimes } from './istiod/roots.ts';
export { fingerprint, type SignedCertificate } from './istiod/verify-certificate.ts';

// Envoy's configuration.

export type { RelaySource } from './xds/follow-grant.ts';
export { createConfigurationRelay } from './xds/relay.ts';

// Access to the Kubernetes API.

export type { ListedObject } from './kubernetes/kubernetes.ts';
export type { KubernetesTokens } from './kubernetes/service-account-tokens.ts';
export { openSharedObject, type SharedObjectOptions } from './kubernetes/shared-object.ts';
