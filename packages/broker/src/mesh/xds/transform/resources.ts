/** The resources that istiod sends for a grant, and their names. */
import type { Any } from '@bufbuild/protobuf/wkt';
import { unpack } from '@meshpass/envoy';
import type { ListenerShape, NamedMessage } from './shapes.ts';

/**
 * A complete state from istiod, keyed by the names that istiod uses. The endpoints of every EDS cluster and the routes
 * of every listener are included.
 */
export interface RawResources {
  readonly clusters: ReadonlyMap<string, Any>;
  readonly listeners: ReadonlyMap<string, Any>;
  readonly routes: ReadonlyMap<string, Any>;
  readonly endpoints: ReadonlyMap<string, Any>;
}

const OUTBOUND = /^outbound\|([1-9][0-9]{0,4})\|([A-Za-z0-9._-]{0,63})\|([a-z0-9.-]{1,253})$/;

/**
 * Parses a cluster name of the form `outbound|PORT|SUBSET|HOST`. The subset is empty if the cluster contains all
 * workloads. Returns undefined if the target is not a Service (`BlackHoleCluster`, `agent`, `inbound|...`).
 */
export function parseClusterName(name: string) {
  const [, port, subset, host] = OUTBOUND.exec(name) ?? [];
  return port === undefined ? undefined : { port: Number(port), subset: subset!, host: host! };
}

/** Returns the name of a resource of any of the four types, or undefined if the resource cannot be parsed. */
export function nameOf(any: Any): string | undefined {
  const message = read<NamedMessage>(any);
  return message?.clusterName || message?.name || undefined;
}

/** Returns the address and port of a listener, or undefined if it does not listen on a socket address. */
export function listenerAddress(listener: ListenerShape | undefined): { address: string; port: number } | undefined {
  const one = listener?.address?.address;
  if (one?.case !== 'socketAddress' || one.value.portSpecifier.case !== 'portValue') return undefined;
  return { address: one.value.address, port: one.value.portSpecifier.value };
}

/** Unpacks a message. Returns undefined if Meshpass does not know the message type or the message cannot be parsed. */
export function read<T>(any: Any): T | undefined {
  try {
    return unpack(any) as T | undefined;
  } catch {
    return undefined;
  }
}
