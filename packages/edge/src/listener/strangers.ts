/**
 * Connections behind which no live session is known yet. They are bounded apart from those of sessions, and a newcomer is
 * never refused for them: room is made by ending the oldest. So whoever holds connections open that lead nowhere, from an
 * address that others share, ends their own. What a connection has sent does not count: to send a byte costs a flood nothing, and
 * a client whose ClientHello is on its way has sent none. Each step takes constant time, because a flood takes it for every accept.
 */
import { groupOf } from '../source.ts';

export interface Stranger {
  /** See sourceOf. */
  readonly source: string;
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
  // The groups by how many they hold: the last of these has the most crowded ones.
  const ofSize: Set<string>[] = [new Set()];
  let size = 0;
  let evicted = 0;
  return {
    enter(stranger) {
      const ofSource = bySource.get(stranger.source);
      if (ofSource && ofSource.size >= limits.strangersPerSource) evictOf(ofSource, 'of its source');
      if (size >= limits.strangers) evictOf(mostCrowded(), 'of all sources');
      join(bySource, stranger.source, stranger);
      const group = groupOf(stranger.source);
      join(byGroup, group, stranger);
      moved(group, -1);
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
    const [victim] = held;
    if (!victim) return;
    evicted++;
    leave(victim);
    victim.evict(
      `There were as many connections without a session ${whose} as there may be: it made room for a newer one.`,
    );
  }

  // Whoever has the most can best spare one: with a limit for all alone, many sources of one network would be the most.
  function mostCrowded(): ReadonlySet<Stranger> {
    const [group = ''] = ofSize.at(-1)!;
    return byGroup.get(group) ?? new Set();
  }

  /** @param before what its size was, counted from what it is: one more or one less */
  function moved(group: string, before: -1 | 1): void {
    const count = byGroup.get(group)?.size ?? 0;
    ofSize[count + before]?.delete(group);
    if (count > 0) ofSize[count] = (ofSize[count] ?? new Set()).add(group);
    while (ofSize.length > 1 && ofSize.at(-1)!.size === 0) ofSize.pop();
  }

  function leave(stranger: Stranger): void {
    if (!part(bySource, stranger.source, stranger)) return;
    const group = groupOf(stranger.source);
    part(byGroup, group, stranger);
    moved(group, 1);
    size--;
  }
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
