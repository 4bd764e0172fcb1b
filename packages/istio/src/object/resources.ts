/** Every kind of object that policy depends on. */
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
 * Every kind that is read, told apart by `kind`. A `Gateway` of the Kubernetes Gateway API (which shares its kind with
 * Istio's) is read as `KubernetesGateway`; everything else that is in the files is kept as `other`.
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

/** `ResourceOf<'Gateway'>` is Istio's Gateway. */
export type ResourceOf<Kind extends ResourceKind> = Extract<Resource, { readonly kind: Kind }>;
