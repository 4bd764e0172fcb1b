/**
 * The Kubernetes and Istio objects that policy depends on, as they are written: members are named and nested as in their
 * manifests, and everything that may be left out is optional. What a manifest means is decided elsewhere.
 * Source: the CustomResourceDefinitions of Istio 1.31 and the Kubernetes API reference.
 */
import type { Place } from '../model.ts';

type Texts = readonly string[];
type Labels = Readonly<Record<string, string>>;
/** Steps from the root of an object: member names and indexes, as in `['spec', 'rules', 0]`. */
export type Path = readonly (string | number)[];

/** Where an object was read. */
export interface Origin {
  /** Name of the file, or of the cluster. */
  readonly file: string;
  /** Line on which the object begins, 1-based; 0 where it has none, as in a cluster. */
  readonly line: number;
  /** Template that Helm made it of (`# Source:` before the document). */
  readonly template?: string;
  /**
   * Place of the member at `path`, or of the nearest thing around it that exists. Made on demand: not for hot paths.
   * @param part its key (default: the value); in a list there is only the value
   */
  readonly at: (path: Path, part?: 'key' | 'value') => Place;
}

export interface Metadata {
  readonly name: string;
  /** `default` where a namespaced object names none; empty where the kind has none. */
  readonly namespace: string;
  readonly labels?: Labels;
  readonly annotations?: Labels;
  /** RFC 3339. Istio prefers the oldest of conflicting policies. */
  readonly creationTimestamp?: string;
}

export interface KubeObject<Kind extends string = string> {
  readonly apiVersion: string;
  readonly kind: Kind;
  readonly metadata: Metadata;
  readonly origin: Origin;
}

interface IstioObject<Kind extends string, Spec> extends KubeObject<Kind> {
  readonly spec: Spec;
}

export interface WorkloadSelector {
  readonly matchLabels?: Labels;
}

export interface TargetRef {
  readonly group?: string;
  readonly kind?: string;
  readonly name?: string;
  readonly namespace?: string;
}

/** What a policy applies to: neither member means the whole namespace, or the mesh in the root namespace. */
export interface Attachment {
  readonly selector?: WorkloadSelector;
  readonly targetRef?: TargetRef;
  readonly targetRefs?: readonly TargetRef[];
}

export type AuthorizationAction = 'ALLOW' | 'DENY' | 'AUDIT' | 'CUSTOM';

export interface AuthorizationSource {
  readonly principals?: Texts;
  readonly notPrincipals?: Texts;
  readonly requestPrincipals?: Texts;
  readonly notRequestPrincipals?: Texts;
  readonly namespaces?: Texts;
  readonly notNamespaces?: Texts;
  readonly serviceAccounts?: Texts;
  readonly notServiceAccounts?: Texts;
  readonly trustDomains?: Texts;
  readonly notTrustDomains?: Texts;
  readonly ipBlocks?: Texts;
  readonly notIpBlocks?: Texts;
  readonly remoteIpBlocks?: Texts;
  readonly notRemoteIpBlocks?: Texts;
}

export interface AuthorizationOperation {
  readonly hosts?: Texts;
  readonly notHosts?: Texts;
  readonly ports?: Texts;
  readonly notPorts?: Texts;
  readonly methods?: Texts;
  readonly notMethods?: Texts;
  readonly paths?: Texts;
  readonly notPaths?: Texts;
}

export interface AuthorizationCondition {
  readonly key: string;
  readonly values?: Texts;
  readonly notValues?: Texts;
}

export interface AuthorizationRule {
  readonly from?: readonly { readonly source?: AuthorizationSource }[];
  readonly to?: readonly { readonly operation?: AuthorizationOperation }[];
  readonly when?: readonly AuthorizationCondition[];
}

export interface AuthorizationPolicySpec extends Attachment {
  /** Absent: ALLOW. */
  readonly action?: AuthorizationAction;
  readonly provider?: { readonly name?: string };
  readonly rules?: readonly AuthorizationRule[];
}

export interface JwtRule {
  readonly issuer?: string;
  readonly audiences?: Texts;
  readonly jwks?: string;
  readonly jwksUri?: string;
  /** Older spelling. */
  readonly jwks_uri?: string;
  readonly fromHeaders?: readonly { readonly name: string; readonly prefix?: string }[];
  readonly fromParams?: Texts;
  readonly fromCookies?: Texts;
  readonly forwardOriginalToken?: boolean;
  readonly outputPayloadToHeader?: string;
  readonly outputClaimToHeaders?: readonly { readonly header?: string; readonly claim?: string }[];
  readonly spaceDelimitedClaims?: Texts;
  readonly timeout?: string;
}

export interface RequestAuthenticationSpec extends Attachment {
  readonly jwtRules?: readonly JwtRule[];
}

export type MutualTlsMode = 'UNSET' | 'DISABLE' | 'PERMISSIVE' | 'STRICT';

export interface PeerAuthenticationSpec {
  readonly selector?: WorkloadSelector;
  readonly mtls?: { readonly mode?: MutualTlsMode };
  /** By the workload's own port number. */
  readonly portLevelMtls?: Readonly<Record<string, { readonly mode?: MutualTlsMode }>>;
}

export type AuthorizationPolicy = IstioObject<'AuthorizationPolicy', AuthorizationPolicySpec>;
export type RequestAuthentication = IstioObject<'RequestAuthentication', RequestAuthenticationSpec>;
export type PeerAuthentication = IstioObject<'PeerAuthentication', PeerAuthenticationSpec>;

export interface GatewayServer {
  readonly name?: string;
  readonly port?: { readonly number?: number; readonly protocol?: string; readonly name?: string };
  readonly hosts?: Texts;
  readonly bind?: string;
  readonly tls?: {
    readonly mode?: string;
    readonly httpsRedirect?: boolean;
    readonly credentialName?: string;
    readonly [member: string]: unknown;
  };
  readonly defaultEndpoint?: string;
}

export type Gateway = IstioObject<
  'Gateway',
  { readonly selector?: Labels; readonly servers?: readonly GatewayServer[] }
>;

/** Istio's StringMatch: at most one member. */
export interface StringMatch {
  readonly exact?: string;
  readonly prefix?: string;
  readonly regex?: string;
}

export interface HttpMatch {
  readonly name?: string;
  readonly uri?: StringMatch;
  readonly scheme?: StringMatch;
  readonly method?: StringMatch;
  readonly authority?: StringMatch;
  readonly headers?: Readonly<Record<string, StringMatch>>;
  readonly withoutHeaders?: Readonly<Record<string, StringMatch>>;
  readonly queryParams?: Readonly<Record<string, StringMatch>>;
  readonly port?: number;
  readonly sourceLabels?: Labels;
  readonly sourceNamespace?: string;
  readonly gateways?: Texts;
  readonly ignoreUriCase?: boolean;
  readonly statPrefix?: string;
}

export interface Destination {
  readonly host?: string;
  readonly subset?: string;
  readonly port?: { readonly number?: number };
}

export interface WeightedDestination {
  readonly destination?: Destination;
  readonly weight?: number;
  readonly headers?: unknown;
}

export interface HttpRoute {
  readonly name?: string;
  readonly match?: readonly HttpMatch[];
  readonly route?: readonly WeightedDestination[];
  readonly redirect?: { readonly uri?: string; readonly authority?: string; readonly [member: string]: unknown };
  readonly directResponse?: { readonly status?: number; readonly body?: unknown };
  readonly delegate?: { readonly name?: string; readonly namespace?: string };
  readonly rewrite?: { readonly uri?: string; readonly authority?: string; readonly uriRegexRewrite?: unknown };
  readonly mirror?: Destination;
  readonly mirrors?: readonly { readonly destination?: Destination; readonly percentage?: unknown }[];
  readonly corsPolicy?: unknown;
  readonly headers?: unknown;
  readonly fault?: unknown;
  readonly retries?: unknown;
  readonly timeout?: string;
}

export interface L4Match {
  readonly destinationSubnets?: Texts;
  readonly port?: number;
  readonly sourceLabels?: Labels;
  readonly sourceNamespace?: string;
  readonly gateways?: Texts;
}

export type VirtualService = IstioObject<
  'VirtualService',
  {
    readonly hosts?: Texts;
    /** Absent: `mesh`, the sidecars. */
    readonly gateways?: Texts;
    readonly http?: readonly HttpRoute[];
    readonly tls?: readonly {
      readonly match?: readonly (L4Match & { readonly sniHosts?: Texts })[];
      readonly route?: readonly WeightedDestination[];
    }[];
    readonly tcp?: readonly { readonly match?: readonly L4Match[]; readonly route?: readonly WeightedDestination[] }[];
    readonly exportTo?: Texts;
  }
>;

export interface ClientTls {
  readonly mode?: 'DISABLE' | 'SIMPLE' | 'MUTUAL' | 'ISTIO_MUTUAL';
  readonly insecureSkipVerify?: boolean;
  readonly sni?: string;
  readonly subjectAltNames?: Texts;
  readonly [member: string]: unknown;
}

export interface TrafficPolicy {
  readonly tls?: ClientTls;
  readonly portLevelSettings?: readonly {
    readonly port?: { readonly number?: number };
    readonly tls?: ClientTls;
    readonly [member: string]: unknown;
  }[];
  readonly [member: string]: unknown;
}

export type DestinationRule = IstioObject<
  'DestinationRule',
  {
    readonly host?: string;
    readonly trafficPolicy?: TrafficPolicy;
    readonly subsets?: readonly {
      readonly name?: string;
      readonly labels?: Labels;
      readonly trafficPolicy?: TrafficPolicy;
    }[];
    readonly exportTo?: Texts;
    readonly workloadSelector?: WorkloadSelector;
  }
>;

export type ServiceEntry = IstioObject<
  'ServiceEntry',
  {
    readonly hosts?: Texts;
    readonly addresses?: Texts;
    readonly ports?: readonly {
      readonly number?: number;
      readonly protocol?: string;
      readonly name?: string;
      readonly targetPort?: number;
    }[];
    readonly location?: 'MESH_EXTERNAL' | 'MESH_INTERNAL';
    readonly resolution?: string;
    readonly endpoints?: readonly {
      readonly address?: string;
      readonly ports?: Readonly<Record<string, number>>;
      readonly labels?: Labels;
      readonly serviceAccount?: string;
      readonly [member: string]: unknown;
    }[];
    readonly workloadSelector?: { readonly labels?: Labels };
    readonly exportTo?: Texts;
    readonly subjectAltNames?: Texts;
  }
>;

export interface SidecarListener {
  readonly port?: { readonly number?: number; readonly protocol?: string; readonly name?: string };
  readonly bind?: string;
  readonly captureMode?: string;
  readonly [member: string]: unknown;
}

export type Sidecar = IstioObject<
  'Sidecar',
  {
    readonly workloadSelector?: { readonly labels?: Labels };
    readonly ingress?: readonly (SidecarListener & { readonly defaultEndpoint?: string; readonly tls?: unknown })[];
    readonly egress?: readonly (SidecarListener & { readonly hosts?: Texts })[];
    readonly outboundTrafficPolicy?: { readonly mode?: string; readonly [member: string]: unknown };
    readonly inboundConnectionPool?: unknown;
  }
>;

export type EnvoyFilter = IstioObject<
  'EnvoyFilter',
  {
    readonly workloadSelector?: { readonly labels?: Labels };
    readonly targetRefs?: readonly TargetRef[];
    readonly configPatches?: readonly {
      readonly applyTo?: string;
      readonly match?: { readonly context?: string; readonly [member: string]: unknown };
      readonly patch?: { readonly operation?: string; readonly value?: unknown; readonly [member: string]: unknown };
    }[];
    readonly priority?: number;
  }
>;

export interface ServicePort {
  readonly name?: string;
  readonly port: number;
  readonly targetPort?: number | string;
  /** Kubernetes' own: TCP where absent. */
  readonly protocol?: string;
  readonly appProtocol?: string;
}

export type Service = IstioObject<
  'Service',
  {
    readonly type?: string;
    readonly selector?: Labels;
    readonly ports?: readonly ServicePort[];
    readonly clusterIP?: string;
    readonly externalName?: string;
    readonly [member: string]: unknown;
  }
>;

export type Namespace = KubeObject<'Namespace'>;
export type ServiceAccount = KubeObject<'ServiceAccount'>;

export interface PodSpec {
  readonly serviceAccountName?: string;
  /** Older spelling. */
  readonly serviceAccount?: string;
  readonly hostNetwork?: boolean;
  readonly containers?: readonly {
    readonly name?: string;
    readonly ports?: readonly { readonly name?: string; readonly containerPort?: number; readonly protocol?: string }[];
    readonly [member: string]: unknown;
  }[];
  readonly [member: string]: unknown;
}

export interface PodTemplate {
  readonly metadata?: { readonly labels?: Labels; readonly annotations?: Labels };
  readonly spec?: PodSpec;
}

export type Pod = IstioObject<'Pod', PodSpec> & {
  readonly status?: { readonly podIP?: string; readonly phase?: string };
};

/** What makes Pods of a template. */
export type PodController = IstioObject<
  'Deployment' | 'StatefulSet' | 'DaemonSet' | 'ReplicaSet' | 'Job',
  { readonly template?: PodTemplate; readonly replicas?: number; readonly [member: string]: unknown }
>;

/** Gateway API: a waypoint or an ingress that Istio runs. */
export type KubernetesGateway = IstioObject<
  'KubernetesGateway',
  {
    readonly gatewayClassName?: string;
    readonly listeners?: readonly {
      readonly name?: string;
      readonly port?: number;
      readonly protocol?: string;
      readonly hostname?: string;
      readonly allowedRoutes?: unknown;
      readonly [member: string]: unknown;
    }[];
    readonly [member: string]: unknown;
  }
>;

export interface RbacRule {
  readonly apiGroups?: Texts;
  readonly resources?: Texts;
  readonly resourceNames?: Texts;
  readonly nonResourceURLs?: Texts;
  readonly verbs?: Texts;
}

export type Role = KubeObject<'Role' | 'ClusterRole'> & {
  readonly rules?: readonly RbacRule[];
  readonly aggregationRule?: unknown;
};

export type RoleBinding = KubeObject<'RoleBinding' | 'ClusterRoleBinding'> & {
  readonly roleRef?: { readonly apiGroup?: string; readonly kind?: string; readonly name?: string };
  readonly subjects?: readonly {
    readonly kind?: string;
    readonly name?: string;
    readonly namespace?: string;
    readonly apiGroup?: string;
  }[];
};

export type ConfigMap = KubeObject<'ConfigMap'> & { readonly data?: Labels };

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
