/**
 * Kinds of the Gateway API, `gateway.networking.k8s.io`, reduced to the fields that affect access. Source: the
 * CustomResourceDefinitions of Gateway API 1.5, as Istio 1.31 reads them.
 */
import type { Labels, SpecObject, Texts } from './object.ts';
import type { TargetRef } from './security.ts';

/** Label selector of Kubernetes. */
export interface LabelSelector {
  readonly matchLabels?: Labels;
  readonly matchExpressions?: readonly {
    readonly key?: string;
    readonly operator?: string;
    readonly values?: Texts;
  }[];
}

/** Namespaces whose routes, or ListenerSets, may attach. */
export interface AllowedNamespaces {
  /** `Same` by default for routes, `None` for ListenerSets. */
  readonly from?: string;
  readonly selector?: LabelSelector;
}

interface FrontendTls {
  readonly validation?: { readonly mode?: string; readonly caCertificateRefs?: readonly unknown[] };
}

export interface GatewayListener {
  readonly name?: string;
  readonly port?: number;
  readonly protocol?: string;
  /** Absent for every host. */
  readonly hostname?: string;
  readonly tls?: { readonly mode?: string; readonly options?: Labels; readonly [member: string]: unknown };
  readonly allowedRoutes?: {
    readonly namespaces?: AllowedNamespaces;
    readonly kinds?: readonly { readonly group?: string; readonly kind?: string }[];
  };
}

/** Gateway of the Gateway API: a waypoint or an ingress, which Istio or another controller runs. */
export type KubernetesGateway = SpecObject<
  'KubernetesGateway',
  {
    readonly gatewayClassName?: string;
    readonly listeners?: readonly GatewayListener[];
    readonly addresses?: readonly { readonly type?: string; readonly value?: string }[];
    readonly infrastructure?: { readonly labels?: Labels; readonly annotations?: Labels };
    readonly allowedListeners?: { readonly namespaces?: AllowedNamespaces };
    readonly tls?: {
      readonly frontend?: {
        readonly default?: FrontendTls;
        readonly perPort?: readonly { readonly port?: number; readonly tls?: FrontendTls }[];
      };
    };
  }
>;

export type GatewayClass = SpecObject<'GatewayClass', { readonly controllerName?: string }>;

/** Reference to a Gateway or ListenerSet. Its kind defaults to `Gateway`, and its namespace to the object's own. */
export interface ParentRef {
  readonly group?: string;
  readonly kind?: string;
  readonly namespace?: string;
  readonly name?: string;
  readonly sectionName?: string;
  readonly port?: number;
}

interface ListenerSetSpec {
  readonly parentRef?: ParentRef;
  readonly listeners?: readonly GatewayListener[];
}

/** Listeners that another namespace adds to a Gateway. `XListenerSet` is the experimental form. */
export type ListenerSet = SpecObject<'ListenerSet', ListenerSetSpec> | SpecObject<'XListenerSet', ListenerSetSpec>;

export interface BackendRef {
  readonly group?: string;
  /** Defaults to `Service`. */
  readonly kind?: string;
  readonly namespace?: string;
  readonly name?: string;
  readonly port?: number;
  readonly weight?: number;
}

/** Value that a header or query parameter has, or that a path or method matches. */
export interface ValueMatch {
  readonly type?: string;
  readonly name?: string;
  readonly value?: string;
}

export interface HttpRouteMatch {
  /** `type` defaults to `PathPrefix`, which matches whole segments, and `value` to `/`. */
  readonly path?: { readonly type?: string; readonly value?: string };
  readonly method?: string;
  readonly headers?: readonly ValueMatch[];
  readonly queryParams?: readonly ValueMatch[];
}

export interface RouteFilter {
  readonly type?: string;
  readonly requestMirror?: { readonly backendRef?: BackendRef };
  readonly requestRedirect?: unknown;
  readonly urlRewrite?: {
    readonly hostname?: string;
    readonly path?: {
      readonly type?: string;
      readonly replaceFullPath?: string;
      readonly replacePrefixMatch?: string;
    };
  };
  readonly extensionRef?: { readonly group?: string; readonly kind?: string; readonly name?: string };
}

interface RouteRule<Match> {
  readonly name?: string;
  readonly matches?: readonly Match[];
  readonly filters?: readonly RouteFilter[];
  readonly backendRefs?: readonly BackendRef[];
}

interface RouteSpec<Match> {
  readonly parentRefs?: readonly ParentRef[];
  readonly hostnames?: Texts;
  readonly rules?: readonly RouteRule<Match>[];
}

export type HTTPRoute = SpecObject<'HTTPRoute', RouteSpec<HttpRouteMatch>>;

export interface GrpcRouteMatch {
  readonly method?: { readonly type?: string; readonly service?: string; readonly method?: string };
  readonly headers?: readonly ValueMatch[];
}

export type GRPCRoute = SpecObject<'GRPCRoute', RouteSpec<GrpcRouteMatch>>;

export type TLSRoute = SpecObject<'TLSRoute', RouteSpec<never>>;

export type TCPRoute = SpecObject<'TCPRoute', RouteSpec<never>>;

/** Allows objects of other namespaces to refer to objects of its own. */
export type ReferenceGrant = SpecObject<
  'ReferenceGrant',
  {
    readonly from?: readonly { readonly group?: string; readonly kind?: string; readonly namespace?: string }[];
    readonly to?: readonly { readonly group?: string; readonly kind?: string; readonly name?: string }[];
  }
>;

/** Requires TLS of the calls from Gateways to Services of its namespace. */
export type BackendTLSPolicy = SpecObject<
  'BackendTLSPolicy',
  {
    /** `sectionName` is the name of a port. */
    readonly targetRefs?: readonly (TargetRef & { readonly sectionName?: string })[];
    readonly validation?: {
      readonly caCertificateRefs?: readonly {
        readonly group?: string;
        readonly kind?: string;
        readonly name?: string;
      }[];
      readonly [member: string]: unknown;
    };
  }
>;

/**
 * Policy of Envoy Gateway that authenticates or authorizes calls (`gateway.envoyproxy.io`). Only its targets are read.
 */
export type SecurityPolicy = SpecObject<
  'SecurityPolicy',
  { readonly targetRef?: TargetRef; readonly targetRefs?: readonly TargetRef[]; readonly [member: string]: unknown }
>;
