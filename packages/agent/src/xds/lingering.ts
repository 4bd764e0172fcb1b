/**
 * What a newer configuration does not have any more, and connections of before still lead through: Envoy lets a connection go on under the
 * listener that it was made by, and its next request looks for the cluster that this listener names. Where several grants hold a port, that is
 * a cluster, and an internal listener, of each grant; with one grant fewer there are none.
 */
import type { Any } from '@bufbuild/protobuf/wkt';
import { CLUSTER, LISTENER, ROUTE_CONFIGURATION, unpack } from '@meshpass/envoy';
import { DRAIN_SECONDS } from '../envoy/drain-time.ts';

export type Resources = Readonly<Record<string, ReadonlyMap<string, Any>>>;

/** A program that has kept a connection for longer without a request gets one 503. */
const LINGERS_MS = DRAIN_SECONDS * 1_000;
const MOST = 1_000;
const TYPES = [CLUSTER, LISTENER, ROUTE_CONFIGURATION];

interface Lingers {
  readonly type: string;
  readonly name: string;
  readonly any: Any;
  readonly until: number;
}

export class Lingering {
  /** The oldest first. */
  #kept = new Map<string, Lingers>();

  /** Another configuration takes the place of one that Envoy had. @param now ms, of the same clock each time */
  replaced(before: Resources | undefined, after: Resources, now: number): void {
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

  /** Of another session nothing lingers. */
  clear(): void {
    this.#kept.clear();
  }

  /** The same resources, and what lingers. @param grants that are held: what another one had is gone at once */
  with(resources: Resources, grants: readonly string[]): Resources {
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
