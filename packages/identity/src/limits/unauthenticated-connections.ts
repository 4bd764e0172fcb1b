/**
 * Limits connections that do not belong to a known live session, at an edge or a broker. Their limits are separate from
 * those of sessions. A new connection is never refused: the oldest one is closed instead. A client that keeps idle
 * connections open from a shared address therefore only loses its own. Connections that have sent bytes get no
 * priority: a byte costs an attacker nothing, and an honest client whose ClientHello is in transit has not sent any.
 * Every step takes constant time, because it runs on every accept during a flood.
 */
import { sourceSite } from './source.ts';

export interface UnauthenticatedConnection {
  /** Source address, see sourceGroup. */
  readonly source: string;
  /** Closes the connection to make room. The caller does not need to call `leave` afterwards. */
  evict(reason: string): void;
}

export interface UnauthenticatedConnectionLimits {
  /** Limit across all sources. */
  readonly strangers: number;
  /** Limit per source. */
  readonly strangersPerSource: number;
}

/** Creates an empty set of connections without a session. */
export function createUnauthenticatedConnections(limits: UnauthenticatedConnectionLimits) {
  // Sets preserve insertion order, so the first connection is the oldest.
  const bySource = new Map<string, Set<UnauthenticatedConnection>>();
  const bySite = new Map<string, Set<UnauthenticatedConnection>>();
  // Sites grouped by number of connections. The last set contains the sites with the most.
  const ofSize: Set<string>[] = [new Set()];
  let size = 0;
  let evicted = 0;
  return {
    /** Adds a connection, and evicts another one if a limit has been reached. */
    enter(stranger: UnauthenticatedConnection): void {
      const ofSource = bySource.get(stranger.source);
      if (ofSource && ofSource.size >= limits.strangersPerSource) evictOf(ofSource, 'from its source');
      if (size >= limits.strangers) evictOf(mostCrowded(), 'from all sources');
      join(bySource, stranger.source, stranger);
      const site = sourceSite(stranger.source);
      join(bySite, site, stranger);
      moved(site, -1);
      size++;
    },
    /** Removes a connection that has been closed or has authenticated. */
    leave,
    get size() {
      return size;
    },
    /** Number of connections evicted since the start. */
    get evicted() {
      return evicted;
    },
  };

  function evictOf(held: ReadonlySet<UnauthenticatedConnection>, whose: string): void {
    const [victim] = held;
    if (!victim) return;
    evicted++;
    leave(victim);
    victim.evict(
      `The limit on connections without a session ${whose} was reached. This one was closed to make room for a newer one.`,
    );
  }

  // Selects the site with the most connections. Otherwise a site with many sources would crowd out all other sites.
  function mostCrowded(): ReadonlySet<UnauthenticatedConnection> {
    const [site = ''] = ofSize.at(-1)!;
    return bySite.get(site) ?? new Set();
  }

  /**
   * Moves a site after its size has changed.
   * @param before previous size minus current size
   */
  function moved(site: string, before: -1 | 1): void {
    const count = bySite.get(site)?.size ?? 0;
    ofSize[count + before]?.delete(site);
    if (count > 0) ofSize[count] = (ofSize[count] ?? new Set()).add(site);
    while (ofSize.length > 1 && ofSize.at(-1)!.size === 0) ofSize.pop();
  }

  function leave(stranger: UnauthenticatedConnection): void {
    if (!part(bySource, stranger.source, stranger)) return;
    const site = sourceSite(stranger.source);
    part(bySite, site, stranger);
    moved(site, 1);
    size--;
  }
}

function join(
  sets: Map<string, Set<UnauthenticatedConnection>>,
  key: string,
  stranger: UnauthenticatedConnection,
): void {
  sets.set(key, (sets.get(key) ?? new Set()).add(stranger));
}

function part(
  sets: Map<string, Set<UnauthenticatedConnection>>,
  key: string,
  stranger: UnauthenticatedConnection,
): boolean {
  const held = sets.get(key);
  const was = held?.delete(stranger) ?? false;
  if (held?.size === 0) sets.delete(key);
  return was;
}
