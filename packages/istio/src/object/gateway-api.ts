/** Kinds of the Gateway API, `gateway.networking.k8s.io`, and of Envoy Gateway. */
import type { CustomObject, Item, SpecOf } from './custom.ts';
import type { SpecObject } from './object.ts';
import type { TargetRef } from './security.ts';

/** Gateway of the Gateway API: a waypoint or an ingress, which Istio or another controller runs. */
export type KubernetesGateway = CustomObject<'KubernetesGateway'>;
/** Namespaces whose routes, or ListenerSets, may attach: `Same` by default for routes, `None` for ListenerSets. */
export type AllowedNamespaces = NonNullable<NonNullable<KubernetesGateway['spec']['allowedListeners']>['namespaces']>;
/** Label selector of Kubernetes. */
export type LabelSelector = NonNullable<AllowedNamespaces['selector']>;
export type GatewayListener = Item<KubernetesGateway['spec']['listeners']>;

export type GatewayClass = CustomObject<'GatewayClass'>;

/** Listeners that another namespace adds to a Gateway. `XListenerSet` is the experimental form. */
export type ListenerSet = CustomObject<'ListenerSet'> | SpecObject<'XListenerSet', SpecOf<'ListenerSet'>>;

export type HTTPRoute = CustomObject<'HTTPRoute'>;
export type GRPCRoute = CustomObject<'GRPCRoute'>;
export type TLSRoute = CustomObject<'TLSRoute'>;
export type TCPRoute = CustomObject<'TCPRoute'>;
/** Reference to a Gateway or ListenerSet. Its kind defaults to `Gateway`, and its namespace to the object's own. */
export type ParentRef = Item<HTTPRoute['spec']['parentRefs']>;
type HttpRule = Item<HTTPRoute['spec']['rules']>;
/** The type of the path defaults to `PathPrefix`, which matches whole segments, and its value to `/`. */
export type HttpRouteMatch = Item<HttpRule['matches']>;
export type GrpcRouteMatch = Item<Item<GRPCRoute['spec']['rules']>['matches']>;
/** Value that a header or query parameter has. */
export type ValueMatch = Item<HttpRouteMatch['headers']>;
export type RouteFilter = Item<HttpRule['filters']>;
/** Reference to a destination. Its kind defaults to `Service`. */
export type BackendRef = Item<HttpRule['backendRefs']>;

/** Allows objects of other namespaces to refer to objects of its own. */
export type ReferenceGrant = CustomObject<'ReferenceGrant'>;

/** Requires TLS of the calls from Gateways to Services of its namespace. */
export type BackendTLSPolicy = CustomObject<'BackendTLSPolicy'>;

/**
 * Policy of Envoy Gateway that authenticates or authorizes calls (`gateway.envoyproxy.io`). Only its targets are read.
 */
export type SecurityPolicy = SpecObject<
  'SecurityPolicy',
  { readonly targetRef?: TargetRef; readonly targetRefs?: readonly TargetRef[]; readonly [member: string]: unknown }
>;
