/** Every kind of object that affects policy. */
import type {
  BackendTLSPolicy,
  GatewayClass,
  GRPCRoute,
  HTTPRoute,
  KubernetesGateway,
  ListenerSet,
  ReferenceGrant,
  SecurityPolicy,
  TCPRoute,
  TLSRoute,
} from './gateway-api.ts';
import type { Ingress, IngressClass, IngressClassParams } from './ingress.ts';
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
  | GatewayClass
  | ListenerSet
  | HTTPRoute
  | GRPCRoute
  | TLSRoute
  | TCPRoute
  | ReferenceGrant
  | BackendTLSPolicy
  | SecurityPolicy
  | Ingress
  | IngressClass
  | IngressClassParams
  | Role
  | RoleBinding
  | ConfigMap;

export type ResourceKind = Resource['kind'];

/** Object of a kind: `ResourceOf<'Gateway'>` is Istio's Gateway. */
export type ResourceOf<Kind extends ResourceKind> = Extract<Resource, { readonly kind: Kind }>;
