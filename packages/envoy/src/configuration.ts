/** Configuration of a workspace's Envoy, and the limits on it. */
import type { Any } from '@bufbuild/protobuf/wkt';

/** Workspace configuration as the broker sends it. */
export interface WorkspaceConfiguration {
  readonly version: number;
  readonly listeners: readonly Any[];
  readonly clusters: readonly Any[];
  /** RouteConfigurations. */
  readonly routes: readonly Any[];
}

/** Values that the workspace knows independently of the configuration. */
export interface ExpectedValues {
  /** Trust domain of the mesh. Every certificate must identify a workload in it. */
  readonly trustDomain: string;
  /** DNS domain of the cluster, usually `cluster.local`. The names of all services end in `.svc.` and this domain. */
  readonly clusterDomain: string;
  /** Header that carries the identity token, in lower case. Header formats must not read it. */
  readonly tokenHeader: string;
  /** The session's grants. Every name in the configuration begins with one of them. */
  readonly grants: readonly string[];
}

/** Reason for rejecting a configuration. */
export interface Refusal {
  /** Kind and name of the resource, such as `Cluster dev/outbound|80||web.shop.svc.cluster.local`. */
  readonly resource: string;
  /**
   * Path within the resource, such as `filter_chains[0].filters[0].typed_config.access_log[0]`. Empty for the resource
   * itself.
   */
  readonly path: string;
  readonly reason: string;
}

/** Part of a resource that the broker removes, because a workspace would reject it. */
export interface LeftOut {
  /** Type URL of the unknown type, or full name of the field. */
  readonly what: string;
  /** Path of the part, such as `filter_chains[0].filters[0].typed_config.http_filters[2]`. */
  readonly where: string;
  readonly reason: string;
}

/** Maximum number of resources. */
export const MAX_RESOURCES = 4_096;
/** Maximum size of one resource, bytes. */
export const MAX_RESOURCE_BYTES = 1024 * 1024;
/** Maximum size of all resources, bytes. */
export const MAX_CONFIGURATION_BYTES = 16 * MAX_RESOURCE_BYTES;
/** Maximum nesting of messages, including those in an `Any`. */
export const MAX_DEPTH = 64;
/** Maximum number of individual values in all resources, counted before decoding. A resource usually has 80. */
export const MAX_VALUES = 400_000;
/**
 * Maximum memory that Envoy may need for all resources, KiB, as estimated by allow/cost.ts. A service with TLS costs
 * about 200 KiB.
 */
export const MAX_COST_KIB = 512 * 1_024;
/**
 * Maximum number of refusals to list. The check stops at this number, so that a configuration full of errors cannot
 * fill a log or take long to check.
 */
export const MAX_REFUSALS = 100;

/** Maximum number of omissions to list per resource. */
export const MAX_OMISSIONS = 1_000;
