/**
 * Ways into the cluster: the calls that an entry point carries to a workload. Every kind of entry point is translated
 * into the same form, with matches as Istio's HttpMatch, so that rules and reports treat all of them alike.
 */

import type {
  HttpMatch,
  HttpRoute,
  KubeObject,
  Labels,
  Path,
  PodWorkload,
  Service,
  ServiceEntry,
} from '@meshpass/istio';
import { NO_REWRITE, type Rewrite } from '../routes/rewrite.ts';

/**
 * Object or setting that accepts calls from outside the mesh. `KubernetesGateway` is the Gateway API's Gateway, `Edge`
 * the Service of Meshpass's edge.
 */
export type EntryKind =
  | 'Gateway'
  | 'KubernetesGateway'
  | 'Ingress'
  | 'LoadBalancer'
  | 'NodePort'
  | 'externalIPs'
  | 'hostPort'
  | 'hostNetwork'
  | 'EnvoyFilter'
  | 'Sidecar'
  | 'Edge';

/**
 * Requirement that a caller proves an identity. `assumed`: a check exists whose decisions the files do not show, such as
 * an external authorizer. `unknown`: the files show no check, and one may exist outside them.
 */
export interface Identity {
  readonly state: 'required' | 'assumed' | 'none' | 'unknown';
  /** Check that requires it, or why none does, or why it is unknown. */
  readonly reason: string;
  /** Whether it rests on Istio's default for mutual TLS, because no PeerAuthentication among the files applies. */
  readonly byDefault?: true;
}

/** Proxy that accepts the calls of an entry point. */
export type EntryProxy =
  /** Pods of Istio's gateways. Without a selector they are unknown. `account` is that of Pods outside the files. */
  | {
      readonly by: 'istio';
      readonly namespace: string | undefined;
      readonly selector: Labels | undefined;
      readonly account?: string;
      /** Whether only Pods of `namespace` are selected. */
      readonly confined?: true;
      /** Whether calls pass no policy filter, as at a listener that an EnvoyFilter adds. */
      readonly withoutPolicies?: true;
    }
  /** Another controller, which calls workloads without an identity of the mesh unless its Pods have a proxy. */
  | {
      readonly by: 'controller';
      readonly name: string;
      /** Pods of it that have a proxy of the mesh: they call workloads with an identity, on behalf of anyone. */
      readonly meshed?: readonly PodWorkload[];
      /** Whether only the name of its class suggests that it is not Istio's. */
      readonly assumed?: true;
    }
  /** No proxy: connections lead to the workload directly. */
  | { readonly by: 'none' };

export interface EntryPoint {
  readonly kind: EntryKind;
  /** `namespace/name` of the object. */
  readonly name: string;
  /** Undefined if the object is not among the files. */
  readonly object: KubeObject | undefined;
  readonly ports: readonly { readonly number: number | undefined; readonly protocol: string | undefined }[];
  /** Name that a TLS client must send to be served, whatever host it then asks for. Undefined if it is that host. */
  readonly serverName?: string;
  /** Headers that a caller must send, because the entry point answers other calls itself. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly proxy: EntryProxy;
  /** Identity that the settings of the entry point require, apart from Istio's policies. */
  readonly own: Identity;
  /** Why only a private network reaches it. Undefined if the internet may. */
  readonly internal: string | undefined;
}

export interface Exposure {
  /** Object with the route: of a VirtualService the delegate, or the root itself. */
  readonly on: KubeObject;
  /** Object with the hosts and the reference to the entry points. */
  readonly root: KubeObject;
  /** Path of the route within `on`. */
  readonly path: Path;
  /** Path of the destination within `on`. */
  readonly destinationPath: Path;
  readonly protocol: 'http' | 'tls' | 'tcp';
  readonly entries: readonly EntryPoint[];
  /** Hosts that a caller can use to reach the route; `*` for any. */
  readonly hosts: readonly string[];
  /** Alternatives; empty if everything matches. */
  readonly matches: readonly HttpMatch[];
  /** Returns the changes that the route makes to calls of a match, before the workload sees them. */
  readonly rewrite: (match?: HttpMatch) => Rewrite;
  /** Headers of calls that no earlier route refuses. Any caller can send them. */
  readonly unrefused?: HttpMatch['headers'];
  readonly route?: Pick<HttpRoute, 'name' | 'match' | 'rewrite'> | undefined;
  readonly destination: {
    readonly host: string;
    readonly subset: string | undefined;
    readonly port: number | undefined;
  };
  readonly service: Service | undefined;
  /** Entry that defines the destination, if that is no Service of the cluster. */
  readonly external?: ServiceEntry;
  /** Workload and its port, if an entry point leads to a Pod without a Service. */
  readonly pod?: { readonly workload: PodWorkload; readonly port: number | undefined };
}

/** Members of an exposure that forwards every call as it is. */
export const EVERY_CALL = { hosts: ['*'], matches: [], rewrite: () => NO_REWRITE } as const;
