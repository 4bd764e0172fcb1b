/**
 * Limits the connections to an edge or a broker that do not belong to a known live session. Their limits are separate
 * from those of sessions. A new connection is never refused. Instead, the oldest one is closed, so a client that keeps
 * idle connections open from a shared address only loses its own. Connections that have sent data do not get priority:
 * a byte costs an attacker nothing, and an honest client whose ClientHello is still in transit has not sent any. Every
 * step takes constant time, because it runs for every accepted connection during a flood.
 */
import { sourceSite } from './source.ts';

export interface UnauthenticatedConnection {
  /** The source address, as returned by `sourceGroup`. */
  readonly source: string;
  /** Closes the connection to make room for another one. The caller does not have to call `leave` afterwards. */
  evict(reason: string): void;
}

export interface UnauthenticatedConnectionLimits {
  /** The maximum number of connections from all sources. */
  readonly strangers: number;
  /** The maximum number of connections from each source. */
  readonly strangersPerSource: number;
}

/** Connections by source or by site. Sets preserve insertion order, so the first connection in a set is the oldest. */
type Groups = Map<string, Set<UnauthenticatedConnection>>;

/** Creates an empty set of unauthenticated connections. */
export function createUnauthenticatedConnections(limits: UnauthenticatedConnectionLimits) {
  const bySource: Groups = new Map();
  const bySite: Groups = new Map();
  // Groups sites by their number of connections. The last set contains the sites with the most connections.
  const ofSize: Set<string>[] = [new Set()];
  let size = 0;
  let evicted = 0;
  return {
    /** Adds a connection. If a limit has been reached, another connection is evicted. */
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
    /** Removes a connection that was closed or that has authenticated. */
    leave,
    get size() {
      return size;
    },
    /** The number of connections that have been evicted since the start. */
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

  // Returns the connections of the site that has the most. Otherwise, a site with many sources could crowd out all
  // other sites.
  function mostCrowded(): ReadonlySet<UnauthenticatedConnection> {
    const [site = ''] = ofSize.at(-1)!;
    return bySite.get(site) ?? new Set();
  }

  /**
   * Moves a site to another group after its number of connections has changed.
   * @param before the previous size minus the current size
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

function join(groups: Groups, key: string, stranger: UnauthenticatedConnection): void {
  groups.set(key, (groups.get(key) ?? new Set()).add(stranger));
}

function part(groups: Groups, key: string, stranger: UnauthenticatedConnection): boolean {
  const held = groups.get(key);
  const was = held?.delete(stranger) ?? false;
  if (held?.size === 0) groups.delete(key);
  return was;
}
