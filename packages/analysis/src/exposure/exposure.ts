/**
 * Exposures: calls that enter the cluster through an entry point and reach a workload. Every kind of entry point is
 * translated into the same form, with matches as Istio's HttpMatch, so that rules and reports treat all of them alike.
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
 * Object or setting that accepts calls from outside the mesh. `KubernetesGateway` is a Gateway API Gateway, and `Edge`
 * is the Service of Meshpass's edge.
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
 * Whether a caller must prove its identity. `assumed`: a check exists, such as an external authorizer, but the files do
 * not show what it decides. `unknown`: the files show no check, but one may exist outside them.
 */
export interface Identity {
  readonly state: 'required' | 'assumed' | 'none' | 'unknown';
  /** The check that requires the identity, or the reason why none does or why this is unknown. */
  readonly reason: string;
  /** Whether the state relies on Istio's default for mutual TLS because no PeerAuthentication in the files applies. */
  readonly byDefault?: true;
}

/** Proxy that accepts calls at an entry point. */
export type EntryProxy =
  /** Istio gateway Pods, unknown without a selector. `account` is their ServiceAccount if the files lack the Pods. */
  | {
      readonly by: 'istio';
      readonly namespace: string | undefined;
      readonly selector: Labels | undefined;
      readonly account?: string;
      /** Whether the selector applies only to Pods in `namespace`. */
      readonly confined?: true;
      /** Whether calls bypass the policy filters, for example at a listener that an EnvoyFilter adds. */
      readonly withoutPolicies?: true;
    }
  /** Another controller. It calls workloads without a mesh identity unless its Pods have a proxy. */
  | {
      readonly by: 'controller';
      readonly name: string;
      /** Controller Pods that have a mesh proxy. They call workloads with an identity, on behalf of any caller. */
      readonly meshed?: readonly PodWorkload[];
      /** Whether the class name is the only evidence that the controller is not Istio. */
      readonly assumed?: true;
    }
  /** No proxy: connections go directly to the workload. */
  | { readonly by: 'none' };

export interface EntryPoint {
  readonly kind: EntryKind;
  /** `namespace/name` of the object. */
  readonly name: string;
  /** Undefined if the object is not in the files. */
  readonly object: KubeObject | undefined;
  readonly ports: readonly { readonly number: number | undefined; readonly protocol: string | undefined }[];
  /** SNI that a TLS client must send, whatever host it then requests. Undefined if the SNI is that host. */
  readonly serverName?: string;
  /** Headers that a caller must send because the entry point answers all other calls itself. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly proxy: EntryProxy;
  /** Identity that the entry point's own settings require, regardless of Istio's policies. */
  readonly own: Identity;
  /** Why only a private network can reach the entry point. Undefined if the internet may reach it. */
  readonly internal: string | undefined;
}

export interface Exposure {
  /** Object that contains the route. For a VirtualService, this is the delegate or the root itself. */
  readonly on: KubeObject;
  /** Object that declares the hosts and refers to the entry points. */
  readonly root: KubeObject;
  /** Path to the route within `on`. */
  readonly path: Path;
  /** Path to the destination within `on`. */
  readonly destinationPath: Path;
  readonly protocol: 'http' | 'tls' | 'tcp';
  readonly entries: readonly EntryPoint[];
  /** Hosts that a caller can use to reach the route; `*` for any. */
  readonly hosts: readonly string[];
  /** Alternative matches. Empty if every call matches. */
  readonly matches: readonly HttpMatch[];
  /** Returns the changes that the route makes to matching calls before the workload sees them. */
  readonly rewrite: (match?: HttpMatch) => Rewrite;
  /** Headers that a call needs so that earlier routes do not refuse it. Any caller can send them. */
  readonly unrefused?: HttpMatch['headers'];
  readonly route?: Pick<HttpRoute, 'name' | 'match' | 'rewrite'> | undefined;
  readonly destination: {
    readonly host: string;
    readonly subset: string | undefined;
    readonly port: number | undefined;
  };
  readonly service: Service | undefined;
  /** ServiceEntry that defines the destination if it is not a Service in the cluster. */
  readonly external?: ServiceEntry;
  /** Workload and its port if the entry point sends calls to a Pod without a Service. */
  readonly pod?: { readonly workload: PodWorkload; readonly port: number | undefined };
}

/** Exposure members for a route that forwards every call unchanged. */
export const EVERY_CALL = { hosts: ['*'], matches: [], rewrite: () => NO_REWRITE } as const;
