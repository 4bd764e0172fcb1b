/** Resources that istiod sends for one grant, and their names. */
import type { Any } from '@bufbuild/protobuf/wkt';
import { unpack } from '@meshpass/envoy';
import type { ListenerShape, NamedMessage } from './shapes.ts';

/** Complete state, keyed by istiod's names. Every EDS cluster has its endpoints, and every listener has its routes. */
export interface RawResources {
  readonly clusters: ReadonlyMap<string, Any>;
  readonly listeners: ReadonlyMap<string, Any>;
  readonly routes: ReadonlyMap<string, Any>;
  readonly endpoints: ReadonlyMap<string, Any>;
}

const OUTBOUND = /^outbound\|([1-9][0-9]{0,4})\|([A-Za-z0-9._-]{0,63})\|([a-z0-9.-]{1,253})$/;

/**
 * Parses a cluster name, `outbound|PORT|SUBSET|HOST`. The subset is empty if the cluster contains all workloads.
 * Returns undefined if the target is not a Service (`BlackHoleCluster`, `agent`, `inbound|...`).
 */
export function parseClusterName(name: string) {
  const [, port, subset, host] = OUTBOUND.exec(name) ?? [];
  return port === undefined ? undefined : { port: Number(port), subset: subset!, host: host! };
}

/** Returns the name of a resource of any of the four types. Undefined if its bytes are invalid. */
export function nameOf(any: Any): string | undefined {
  const message = read<NamedMessage>(any);
  return message?.clusterName || message?.name || undefined;
}

/** Returns the address and port of a listener. Undefined if it does not have any. */
export function listenerAddress(listener: ListenerShape | undefined): { address: string; port: number } | undefined {
  const one = listener?.address?.address;
  if (one?.case !== 'socketAddress' || one.value.portSpecifier.case !== 'portValue') return undefined;
  return { address: one.value.address, port: one.value.portSpecifier.value };
}

/** Unpacks a message. Returns undefined if Meshpass does not know its type or its bytes are invalid. */
export function read<T>(any: Any): T | undefined {
  try {
    return unpack(any) as T | undefined;
  } catch {
    return undefined;
  }
}
