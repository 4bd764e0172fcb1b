/** Inbound traffic and routing: Istio's `networking.istio.io`. Source: the CustomResourceDefinitions of Istio 1.31. */
import type { Labels, SpecObject, Texts } from './object.ts';
import type { TargetRef, WorkloadSelector } from './security.ts';

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

export type Gateway = SpecObject<
  'Gateway',
  { readonly selector?: Labels; readonly servers?: readonly GatewayServer[] }
>;

/** Istio's StringMatch, in which at most one field is set. */
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

export type VirtualService = SpecObject<
  'VirtualService',
  {
    readonly hosts?: Texts;
    /** Defaults to `mesh`, which means the sidecars. */
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

export type DestinationRule = SpecObject<
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

export type ServiceEntry = SpecObject<
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

interface SidecarListener {
  readonly port?: { readonly number?: number; readonly protocol?: string; readonly name?: string };
  readonly bind?: string;
  readonly captureMode?: string;
  readonly [member: string]: unknown;
}

export type Sidecar = SpecObject<
  'Sidecar',
  {
    readonly workloadSelector?: { readonly labels?: Labels };
    readonly ingress?: readonly (SidecarListener & { readonly defaultEndpoint?: string; readonly tls?: unknown })[];
    readonly egress?: readonly (SidecarListener & { readonly hosts?: Texts })[];
    readonly outboundTrafficPolicy?: { readonly mode?: string; readonly [member: string]: unknown };
    readonly inboundConnectionPool?: unknown;
  }
>;

export type EnvoyFilter = SpecObject<
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

/** Custom code in proxies (`extensions.istio.io`): `WasmPlugin`, and `TrafficExtension` for Lua or WebAssembly. */
export type ProxyExtension = SpecObject<
  'WasmPlugin' | 'TrafficExtension',
  {
    readonly selector?: WorkloadSelector;
    readonly targetRef?: TargetRef;
    readonly targetRefs?: readonly TargetRef[];
    readonly match?: readonly {
      readonly mode?: string;
      readonly ports?: readonly { readonly number?: number }[];
      readonly [member: string]: unknown;
    }[];
    readonly [member: string]: unknown;
  }
>;
