/** What a workspace is given to run, and the bounds of it. */
import type { Any } from '@bufbuild/protobuf/wkt';

/** A workspace's configuration, as the broker sends it. */
export interface WorkspaceConfiguration {
  readonly version: number;
  readonly listeners: readonly Any[];
  readonly clusters: readonly Any[];
  /** Each a RouteConfiguration. */
  readonly routes: readonly Any[];
}

/** What the workspace knows by itself, whatever the broker sends. */
export interface Expected {
  /** Of the mesh: every certificate must name a workload in it. */
  readonly trustDomain: string;
  /** `cluster.local` mostly: every service is below `svc.` and this. */
  readonly clusterDomain: string;
  /** Of the session: every name of the configuration begins with one of them. */
  readonly grants: readonly string[];
}

/** One reason why a configuration is not accepted. */
export interface Refusal {
  /** Kind and name of the resource, for example `Cluster dev/outbound|80||web.shop.svc.cluster.local`. */
  readonly resource: string;
  /** Where in it, for example `filter_chains[0].filters[0].typed_config.access_log[0]`; empty for the resource itself. */
  readonly path: string;
  readonly reason: string;
}

/** One part that a workspace would not accept, and that was therefore left out. */
export interface LeftOut {
  /** Type URL of what is not known, or full name of the field. */
  readonly what: string;
  /** What was removed because of it, for example `filter_chains[0].filters[0].typed_config.http_filters[2]`. */
  readonly where: string;
  readonly reason: string;
}

export const MAX_RESOURCES = 4_096;
/** Bytes of one resource. */
export const MAX_RESOURCE_BYTES = 1024 * 1024;
/** Bytes of all resources. */
export const MAX_CONFIGURATION_BYTES = 16 * MAX_RESOURCE_BYTES;
/** Messages within messages, those in an `Any` included. */
export const MAX_DEPTH = 64;
/** Single values, in all resources. */
export const MAX_VALUES = 1_000_000;
/** Refusals that are listed, then the check ends: a configuration of nothing but mistakes must neither fill a log nor take long. */
export const MAX_REFUSALS = 100;

/** Parts of one resource that are named; the others are left out in silence. */
export const MAX_LEFT_OUT = 1_000;
