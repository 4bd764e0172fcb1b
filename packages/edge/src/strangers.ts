/**
 * Connections behind which no live session is known yet. They are bounded apart from those of sessions, and a newcomer is
 * never refused for them: room is made by ending the oldest, a silent one first. So whoever holds connections open that lead
 * nowhere, from an address that others share, ends their own.
 */
import { groupOf } from './source.ts';

export interface Stranger {
  /** See sourceOf. */
  readonly source: string;
  /** Whether not one byte has come. */
  readonly silent: boolean;
  /** Ends it to make room. The caller of `Strangers.leave` is the connection's own end. */
  evict(reason: string): void;
}

export interface Strangers {
  /** Takes a newcomer in, and makes room where there is none. */
  enter(stranger: Stranger): void;
  /** It is gone, or has shown who it is. */
  leave(stranger: Stranger): void;
  readonly size: number;
  /** Ended to make room, since the start. */
  readonly evicted: number;
}

export interface StrangerLimits {
  /** In all. */
  readonly strangers: number;
  /** Of one source. */
  readonly strangersPerSource: number;
}

export function createStrangers(limits: StrangerLimits): Strangers {
  // Sets keep the order of arrival: the first is the oldest.
  const bySource = new Map<string, Set<Stranger>>();
  const byGroup = new Map<string, Set<Stranger>>();
  let size = 0;
  let evicted = 0;
  return {
    enter(stranger) {
      const ofSource = bySource.get(stranger.source);
      if (ofSource && ofSource.size >= limits.strangersPerSource) evictOf(ofSource, 'of its source');
      if (size >= limits.strangers) evictOf(mostCrowded(), 'of all sources');
      join(bySource, stranger.source, stranger);
      join(byGroup, groupOf(stranger.source), stranger);
      size++;
    },
    leave,
    get size() {
      return size;
    },
    get evicted() {
      return evicted;
    },
  };

  function evictOf(held: ReadonlySet<Stranger>, whose: string): void {
    const [oldest] = held;
    const victim = firstSilent(held) ?? oldest;
    if (!victim) return;
    evicted++;
    leave(victim);
    victim.evict(
      `There were as many connections without a session ${whose} as there may be: it made room for a newer one.`,
    );
  }

  // Whoever has the most can best spare one: with a limit for all alone, many sources of one network would be the most.
  function mostCrowded(): ReadonlySet<Stranger> {
    let most: ReadonlySet<Stranger> = new Set();
    for (const held of byGroup.values()) if (held.size > most.size) most = held;
    return most;
  }

  function leave(stranger: Stranger): void {
    if (!part(bySource, stranger.source, stranger)) return;
    part(byGroup, groupOf(stranger.source), stranger);
    size--;
  }
}

function firstSilent(held: ReadonlySet<Stranger>): Stranger | undefined {
  for (const one of held) if (one.silent) return one;
  return undefined;
}

function join(sets: Map<string, Set<Stranger>>, key: string, stranger: Stranger): void {
  sets.set(key, (sets.get(key) ?? new Set()).add(stranger));
}

function part(sets: Map<string, Set<Stranger>>, key: string, stranger: Stranger): boolean {
  const held = sets.get(key);
  const was = held?.delete(stranger) ?? false;
  if (held?.size === 0) sets.delete(key);
  return was;
}
