/** What istiod sent for one grant, and how its resources are named. */
import type { Any } from '@bufbuild/protobuf/wkt';
import { unpack } from '@meshpass/envoy';
import type { ListenerShape, Named } from './shapes.ts';

/** Whole: every cluster of type EDS has its endpoints here, and every listener its routes. By istiod's names. */
export interface RawResources {
  readonly clusters: ReadonlyMap<string, Any>;
  readonly listeners: ReadonlyMap<string, Any>;
  readonly routes: ReadonlyMap<string, Any>;
  readonly endpoints: ReadonlyMap<string, Any>;
}

/** A cluster of istiod, `outbound|PORT|SUBSET|HOST`. */
export interface OutboundCluster {
  readonly port: number;
  /** Empty: all workloads. */
  readonly subset: string;
  readonly host: string;
}

const OUTBOUND = /^outbound\|([1-9][0-9]{0,4})\|([A-Za-z0-9._-]{0,63})\|([a-z0-9.-]{1,253})$/;

/** What a cluster's name says; undefined where it leads to no Service (`BlackHoleCluster`, `agent`, `inbound|...`). */
export function clusterOf(name: string): OutboundCluster | undefined {
  const [, port, subset, host] = OUTBOUND.exec(name) ?? [];
  return port === undefined ? undefined : { port: Number(port), subset: subset!, host: host! };
}

/** Of a resource of the four types; undefined where its bytes are none. */
export function nameOf(any: Any): string | undefined {
  const message = read<Named>(any);
  return message?.clusterName || message?.name || undefined;
}

/** Where it listens; undefined where that is no address and port. */
export function socketOf(listener: ListenerShape | undefined): { address: string; port: number } | undefined {
  const one = listener?.address?.address;
  if (one?.case !== 'socketAddress' || one.value.portSpecifier.case !== 'portValue') return undefined;
  return { address: one.value.address, port: one.value.portSpecifier.value };
}

/** The message in it; undefined where Meshpass does not know its type, or its bytes are no such message. */
export function read<T>(any: Any): T | undefined {
  try {
    return unpack(any) as T | undefined;
  } catch {
    return undefined;
  }
}
