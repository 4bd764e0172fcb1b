/**
 * Defines an exposure: calls that enter the cluster through an entry point and reach a workload. All kinds of entry
 * points are translated into this one form, with matches in the shape of Istio's HttpMatch, so that rules and reports
 * can treat them alike.
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
 * An object or setting that accepts calls from outside the mesh. `KubernetesGateway` is a Gateway of the Gateway API,
 * and `Edge` is the Service of the Meshpass edge.
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
 * Whether callers must prove their identity. `assumed` means that a check such as an external authorizer exists, but
 * the files do not show what it decides. `unknown` means that the files show no check, although one may exist
 * elsewhere.
 */
export interface Identity {
  readonly state: 'required' | 'assumed' | 'none' | 'unknown';
  /** The check that requires an identity, or the reason why none is required or why the state is unknown. */
  readonly reason: string;
  /**
   * Whether the state is based on Istio's default for mutual TLS because no PeerAuthentication in the files applies.
   */
  readonly byDefault?: true;
}

/** The proxy that accepts calls at an entry point. */
export type EntryProxy =
  /**
   * The Pods of an Istio gateway, which are unknown if the selector is undefined. `account` is their ServiceAccount if
   * the files do not contain the Pods.
   */
  | {
      readonly by: 'istio';
      readonly namespace: string | undefined;
      readonly selector: Labels | undefined;
      readonly account?: string;
      /** Whether the selector only applies to Pods in `namespace`. */
      readonly confined?: true;
      /** Whether calls bypass the policy filters, for example because an EnvoyFilter adds the listener. */
      readonly withoutPolicies?: true;
    }
  /** A controller other than Istio. It calls workloads without a mesh identity unless its Pods have a mesh proxy. */
  | {
      readonly by: 'controller';
      readonly name: string;
      /**
       * The controller's Pods that have a mesh proxy. They call workloads with their own identity, on behalf of any
       * caller.
       */
      readonly meshed?: readonly PodWorkload[];
      /** Whether the class name is the only evidence that this controller is not Istio. */
      readonly assumed?: true;
    }
  /** There is no proxy, so connections go directly to the workload. */
  | { readonly by: 'none' };

export interface EntryPoint {
  readonly kind: EntryKind;
  /** The object's namespace and name, in the form `namespace/name`. */
  readonly name: string;
  /** The object that defines the entry point. Undefined if it is not in the files. */
  readonly object: KubeObject | undefined;
  readonly ports: readonly { readonly number: number | undefined; readonly protocol: string | undefined }[];
  /**
   * The SNI that a TLS client must send, regardless of the host it then requests. Undefined if the SNI is simply the
   * requested host.
   */
  readonly serverName?: string;
  /** The headers that a caller must send. The entry point itself responds to all other calls. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly proxy: EntryProxy;
  /** The identity that the entry point's own settings require, independently of Istio's policies. */
  readonly own: Identity;
  /**
   * The reason why only a private network can reach the entry point. Undefined if it may be reachable from the
   * internet.
   */
  readonly internal: string | undefined;
}

export interface Exposure {
  /** The object that contains the route. For a VirtualService, this can be a delegate or the root itself. */
  readonly on: KubeObject;
  /** The object that declares the hosts and refers to the entry points. */
  readonly root: KubeObject;
  /** The path to the route within `on`. */
  readonly path: Path;
  /** The path to the destination within `on`. */
  readonly destinationPath: Path;
  readonly protocol: 'http' | 'tls' | 'tcp';
  readonly entries: readonly EntryPoint[];
  /** The hosts under which a caller can reach the route. `*` stands for any host. */
  readonly hosts: readonly string[];
  /** The matches of the route, of which a call must satisfy at least one. Empty if every call matches. */
  readonly matches: readonly HttpMatch[];
  /** Returns how the route changes matching calls before they reach the workload. */
  readonly rewrite: (match?: HttpMatch) => Rewrite;
  /** The headers that a call needs so that no earlier route rejects it. Any caller can send them. */
  readonly unrefused?: HttpMatch['headers'];
  readonly route?: Pick<HttpRoute, 'name' | 'match' | 'rewrite'> | undefined;
  readonly destination: {
    readonly host: string;
    readonly subset: string | undefined;
    readonly port: number | undefined;
  };
  readonly service: Service | undefined;
  /** The ServiceEntry that defines the destination if it is not a Service in the cluster. */
  readonly external?: ServiceEntry;
  /** The workload and its port, if the entry point sends calls to a Pod without going through a Service. */
  readonly pod?: { readonly workload: PodWorkload; readonly port: number | undefined };
}

/**
 * Creates the exposure of a destination that an object publishes by itself, without a route. Every call is forwarded
 * unchanged, unless `given` says otherwise.
 */
export function publishedExposure(
  on: KubeObject,
  path: Path,
  given: Pick<Exposure, 'protocol' | 'entries' | 'destination' | 'service'> & Partial<Exposure>,
): Exposure {
  const everyCall = { hosts: ['*'], matches: [], rewrite: () => NO_REWRITE };
  return { on, root: on, path, destinationPath: path, ...everyCall, ...given };
}
