/** The configuration of a workspace's Envoy, the kinds of its resources, and its limits. */
import type { DescMessage } from '@bufbuild/protobuf';
import type { Any } from '@bufbuild/protobuf/wkt';
import { CLUSTER, LISTENER, messageType, ROUTE_CONFIGURATION, TYPE_URL_PREFIX } from './types.ts';

/** A workspace configuration, as sent by the broker. */
export interface WorkspaceConfiguration {
  readonly version: number;
  readonly listeners: readonly Any[];
  readonly clusters: readonly Any[];
  readonly routes: readonly Any[];
}

/** A kind of resource that a workspace accepts. */
export interface Kind {
  /** The name to display, such as `Cluster`. */
  readonly title: string;
  /** The field of the configuration that lists resources of this kind. */
  readonly list: 'clusters' | 'listeners' | 'routes';
  readonly type: DescMessage;
}

export const KINDS: readonly Kind[] = [
  { title: 'Cluster', list: 'clusters', type: messageType(CLUSTER) },
  { title: 'Listener', list: 'listeners', type: messageType(LISTENER) },
  { title: 'RouteConfiguration', list: 'routes', type: messageType(ROUTE_CONFIGURATION) },
];

/** Returns the kind of a packed resource, or undefined if a workspace does not accept its type. */
export function kindOf({ typeUrl }: Any): Kind | undefined {
  return KINDS.find(({ type }) => typeUrl === TYPE_URL_PREFIX + type.typeName);
}

/** The values that a workspace knows independently of the configuration. */
export interface ExpectedValues {
  /** The trust domain of the mesh. Every certificate must identify a workload in it. */
  readonly trustDomain: string;
  /**
   * The DNS domain of the cluster, usually `cluster.local`. The names of all services end in `.svc.` followed by this
   * domain.
   */
  readonly clusterDomain: string;
  /** The header that carries the identity token, in lower case. Header formats must not read this header. */
  readonly tokenHeader: string;
  /** The session's grants. Every name in the configuration begins with one of them. */
  readonly grants: readonly string[];
}

/** The reason why a configuration is rejected. */
export interface Refusal {
  /** The kind and name of the resource, such as `Cluster dev/outbound|80||web.shop.svc.cluster.local`. */
  readonly resource: string;
  /**
   * The path within the resource, such as `filter_chains[0].filters[0].typed_config.access_log[0]`. It is empty for the
   * resource itself.
   */
  readonly path: string;
  readonly reason: string;
}

/** A part of a resource that the broker removes because a workspace would reject it. */
export interface LeftOut {
  /** The type URL of an unknown type, or the full name of the field. */
  readonly what: string;
  /** The path of the part, such as `filter_chains[0].filters[0].typed_config.http_filters[2]`. */
  readonly where: string;
  readonly reason: string;
}

/** The maximum number of resources in a configuration. */
export const MAX_RESOURCES = 4_096;
/** The maximum size of a single resource, in bytes. */
export const MAX_RESOURCE_BYTES = 1024 * 1024;
/** The maximum combined size of all resources, in bytes. */
export const MAX_CONFIGURATION_BYTES = 16 * MAX_RESOURCE_BYTES;
/** The maximum nesting depth of messages, including those in an `Any`. */
export const MAX_DEPTH = 64;
/**
 * The maximum number of individual values in all resources combined, counted before decoding. A resource usually has
 * 80.
 */
export const MAX_VALUES = 400_000;
/**
 * The maximum amount of memory that Envoy may need for all resources, in KiB, as estimated by `allow/cost.ts`. A
 * service with TLS needs about 200 KiB.
 */
export const MAX_COST_KIB = 512 * 1_024;
/**
 * The maximum number of refusals to report. The check stops when it is reached, so that a configuration full of errors
 * neither fills a log nor takes long to check.
 */
export const MAX_REFUSALS = 100;

/** The maximum number of omissions to report for each resource. */
export const MAX_OMISSIONS = 1_000;
