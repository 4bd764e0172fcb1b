/**
 * Keeps resources that are no longer part of the configuration but are still needed by existing connections. In Envoy,
 * a connection stays on its original listener, and further requests look up the cluster in that listener's
 * configuration. If more than one grant includes a port, each of these grants has its own cluster and internal listener
 * for it. Without this module, they would be missing once the grant is lost.
 */
import type { Any } from '@bufbuild/protobuf/wkt';
import { CLUSTER, LISTENER, ROUTE_CONFIGURATION, unpack } from '@meshpass/envoy';
import { DRAIN_SECONDS } from '../envoy/supervisor.ts';
import type { EnvoyResources } from './discovery.ts';

/**
 * How long resources are kept, in milliseconds. A program whose connection was idle for longer receives a single 503.
 */
const LINGERS_MS = DRAIN_SECONDS * 1_000;
const MOST = 1_000;
const TYPES = [CLUSTER, LISTENER, ROUTE_CONFIGURATION];

interface Lingers {
  readonly type: string;
  readonly name: string;
  readonly any: Any;
  readonly until: number;
}

export class LingeringResources {
  /** The resources that are being kept, starting with the oldest. */
  #kept = new Map<string, Lingers>();

  /**
   * Records that one configuration has been replaced by another.
   * @param now the current time of a monotonic clock, in milliseconds
   */
  replaced(before: EnvoyResources | undefined, after: EnvoyResources, now: number): void {
    for (const type of TYPES) {
      for (const [name, any] of before?.[type] ?? []) {
        if (after[type]?.has(name) || (type === LISTENER && hasSocket(any))) continue;
        const key = `${type} ${name}`;
        this.#kept.delete(key);
        this.#kept.set(key, { type, name, any, until: now + LINGERS_MS });
      }
    }
    for (const [key, { until }] of this.#kept) if (until <= now || this.#kept.size > MOST) this.#kept.delete(key);
  }

  /** Discards all kept resources, because they must not outlive their session. */
  clear(): void {
    this.#kept.clear();
  }

  /**
   * Adds the kept resources to those of the current configuration.
   * @param grants the current grants. The resources of any other grant are omitted immediately
   */
  with(resources: EnvoyResources, grants: readonly string[]): EnvoyResources {
    const all: Record<string, ReadonlyMap<string, Any>> = { ...resources };
    for (const { type, name, any } of this.#kept.values()) {
      if (all[type]?.has(name) || !grants.includes(name.split('/')[0]!)) continue;
      all[type] = new Map([...(all[type] ?? []), [name, any]]);
    }
    return all;
  }
}

function hasSocket(any: Any): boolean {
  return (unpack(any) as { readonly address?: unknown } | undefined)?.address !== undefined;
}
