/** All kinds of objects that affect policies. */
import type { CustomKind, CustomObject } from './custom.ts';
import type { ListenerSet, SecurityPolicy } from './gateway-api.ts';
import type {
  ConfigMap,
  Ingress,
  IngressClass,
  IngressClassParams,
  Namespace,
  Pod,
  PodController,
  Role,
  RoleBinding,
  Service,
  ServiceAccount,
} from './kubernetes.ts';
import type { AuthorizationPolicy, RequestAuthentication } from './security.ts';

/** The kinds whose types match their definitions exactly. */
type PlainKind = Exclude<CustomKind, (AuthorizationPolicy | RequestAuthentication | ListenerSet)['kind']>;

/**
 * The supported objects, discriminated by `kind`. A Gateway of the Gateway API has the same kind as Istio's, so it is
 * represented as a `KubernetesGateway`. Objects of all other kinds are listed in `others`.
 */
export type Resource =
  | { [Kind in PlainKind]: CustomObject<Kind> }[PlainKind]
  | AuthorizationPolicy
  | RequestAuthentication
  | Service
  | Namespace
  | ServiceAccount
  | Pod
  | PodController
  | ListenerSet
  | SecurityPolicy
  | Ingress
  | IngressClass
  | IngressClassParams
  | Role
  | RoleBinding
  | ConfigMap;

export type ResourceKind = Resource['kind'];

/** An object of the given kind. `ResourceOf<'Gateway'>` is Istio's Gateway. */
export type ResourceOf<Kind extends ResourceKind> = Extract<Resource, { readonly kind: Kind }>;
