/** The kinds of the Gateway API (`gateway.networking.k8s.io`) and of Envoy Gateway. */
import type { CustomObject, Item, SpecOf } from './custom.ts';
import type { SpecObject } from './object.ts';
import type { TargetRef } from './security.ts';

/**
 * A Gateway of the Gateway API. It is either a waypoint or an ingress gateway, managed by Istio or by another
 * controller.
 */
export type KubernetesGateway = CustomObject<'KubernetesGateway'>;
/**
 * The namespaces whose routes or ListenerSets may attach. Defaults to `Same` for routes and to `None` for ListenerSets.
 */
export type AllowedNamespaces = NonNullable<NonNullable<KubernetesGateway['spec']['allowedListeners']>['namespaces']>;
/** A Kubernetes label selector. */
export type LabelSelector = NonNullable<AllowedNamespaces['selector']>;
export type GatewayListener = Item<KubernetesGateway['spec']['listeners']>;

export type GatewayClass = CustomObject<'GatewayClass'>;

/**
 * Listeners that are added to a Gateway from another namespace. `XListenerSet` is the experimental version of this
 * kind.
 */
export type ListenerSet = CustomObject<'ListenerSet'> | SpecObject<'XListenerSet', SpecOf<'ListenerSet'>>;

export type HTTPRoute = CustomObject<'HTTPRoute'>;
export type GRPCRoute = CustomObject<'GRPCRoute'>;
export type TLSRoute = CustomObject<'TLSRoute'>;
export type TCPRoute = CustomObject<'TCPRoute'>;
/**
 * A reference to a Gateway or a ListenerSet. The kind defaults to `Gateway`, and the namespace to that of the object
 * itself.
 */
export type ParentRef = Item<HTTPRoute['spec']['parentRefs']>;
type HttpRule = Item<HTTPRoute['spec']['rules']>;
/** The path type defaults to `PathPrefix`, which matches whole segments. The path value defaults to `/`. */
export type HttpRouteMatch = Item<HttpRule['matches']>;
export type GrpcRouteMatch = Item<Item<GRPCRoute['spec']['rules']>['matches']>;
/** The value that a header or a query parameter must have. */
export type ValueMatch = Item<HttpRouteMatch['headers']>;
export type RouteFilter = Item<HttpRule['filters']>;
/** A reference to a destination. The kind defaults to `Service`. */
export type BackendRef = Item<HttpRule['backendRefs']>;

/** Allows objects in other namespaces to refer to objects in the namespace of the grant. */
export type ReferenceGrant = CustomObject<'ReferenceGrant'>;

/** Requires Gateways to use TLS when they call Services in the namespace of the policy. */
export type BackendTLSPolicy = CustomObject<'BackendTLSPolicy'>;

/**
 * An Envoy Gateway policy that authenticates or authorizes calls (`gateway.envoyproxy.io`). Only its targets are read.
 */
export type SecurityPolicy = SpecObject<
  'SecurityPolicy',
  { readonly targetRef?: TargetRef; readonly targetRefs?: readonly TargetRef[]; readonly [member: string]: unknown }
>;
