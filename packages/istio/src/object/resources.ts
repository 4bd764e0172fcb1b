/** Every kind of object that affects policy. */
import type {
  ConfigMap,
  Namespace,
  Pod,
  PodController,
  Role,
  RoleBinding,
  Service,
  ServiceAccount,
} from './kubernetes.ts';
import type {
  DestinationRule,
  EnvoyFilter,
  Gateway,
  KubernetesGateway,
  ProxyExtension,
  ServiceEntry,
  Sidecar,
  VirtualService,
} from './networking.ts';
import type { AuthorizationPolicy, PeerAuthentication, RequestAuthentication } from './security.ts';

/**
 * Supported objects, discriminated by `kind`. A `Gateway` of the Kubernetes Gateway API, whose kind is the same as
 * Istio's, becomes a `KubernetesGateway`. Objects of any other kind go to `others`.
 */
export type Resource =
  | AuthorizationPolicy
  | RequestAuthentication
  | PeerAuthentication
  | Gateway
  | VirtualService
  | DestinationRule
  | ServiceEntry
  | Sidecar
  | EnvoyFilter
  | ProxyExtension
  | Service
  | Namespace
  | ServiceAccount
  | Pod
  | PodController
  | KubernetesGateway
  | Role
  | RoleBinding
  | ConfigMap;

export type ResourceKind = Resource['kind'];

/** Object of a kind: `ResourceOf<'Gateway'>` is Istio's Gateway. */
export type ResourceOf<Kind extends ResourceKind> = Extract<Resource, { readonly kind: Kind }>;
