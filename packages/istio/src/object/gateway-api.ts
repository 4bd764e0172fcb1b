/** Kinds of the Gateway API (`gateway.networking.k8s.io`) and of Envoy Gateway. */
import type { CustomObject, Item, SpecOf } from './custom.ts';
import type { SpecObject } from './object.ts';
import type { TargetRef } from './security.ts';

/** Gateway API Gateway: a waypoint or an ingress gateway, managed by Istio or by another controller. */
export type KubernetesGateway = CustomObject<'KubernetesGateway'>;
/** Namespaces whose routes or ListenerSets may attach. Defaults to `Same` for routes and to `None` for ListenerSets. */
export type AllowedNamespaces = NonNullable<NonNullable<KubernetesGateway['spec']['allowedListeners']>['namespaces']>;
/** Kubernetes label selector. */
export type LabelSelector = NonNullable<AllowedNamespaces['selector']>;
export type GatewayListener = Item<KubernetesGateway['spec']['listeners']>;

export type GatewayClass = CustomObject<'GatewayClass'>;

/** Listeners that are added to a Gateway from another namespace. `XListenerSet` is the experimental form. */
export type ListenerSet = CustomObject<'ListenerSet'> | SpecObject<'XListenerSet', SpecOf<'ListenerSet'>>;

export type HTTPRoute = CustomObject<'HTTPRoute'>;
export type GRPCRoute = CustomObject<'GRPCRoute'>;
export type TLSRoute = CustomObject<'TLSRoute'>;
export type TCPRoute = CustomObject<'TCPRoute'>;
/** Reference to a Gateway or ListenerSet. Its kind defaults to `Gateway`, and its namespace to the object's own. */
export type ParentRef = Item<HTTPRoute['spec']['parentRefs']>;
type HttpRule = Item<HTTPRoute['spec']['rules']>;
/** The path type defaults to `PathPrefix`, which matches whole segments. The path value defaults to `/`. */
export type HttpRouteMatch = Item<HttpRule['matches']>;
export type GrpcRouteMatch = Item<Item<GRPCRoute['spec']['rules']>['matches']>;
/** Required value of a header or query parameter. */
export type ValueMatch = Item<HttpRouteMatch['headers']>;
export type RouteFilter = Item<HttpRule['filters']>;
/** Reference to a destination. Its kind defaults to `Service`. */
export type BackendRef = Item<HttpRule['backendRefs']>;

/** Allows objects in other namespaces to refer to objects in its own namespace. */
export type ReferenceGrant = CustomObject<'ReferenceGrant'>;

/** Requires Gateways to use TLS for calls to Services in its namespace. */
export type BackendTLSPolicy = CustomObject<'BackendTLSPolicy'>;

/** Envoy Gateway policy that authenticates or authorizes calls (`gateway.envoyproxy.io`). Only its targets are read. */
export type SecurityPolicy = SpecObject<
  'SecurityPolicy',
  { readonly targetRef?: TargetRef; readonly targetRefs?: readonly TargetRef[]; readonly [member: string]: unknown }
>;
