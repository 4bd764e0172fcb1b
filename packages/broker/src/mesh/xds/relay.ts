/**
 * Relays Envoy configuration from istiod to all live sessions. There is one stream to istiod per grant, which is shared
 * by all sessions with that grant. Each set of grants has one configuration, regardless of the order of the grants.
 * Streams and configurations that are no longer used are dropped after a while.
 */

import { grantSet } from '@meshpass/identity/channel';
import type { MeshState } from '../reconcile/connect-mesh.ts';
import type { RelaySource } from './follow-grant.ts';
import { type GrantState, openGrantStream } from './grant-state.ts';
import { createGrantSetState, type GrantSetState } from './set-state.ts';
import { type GrantSetConfiguration, mergeGrants } from './transform/merge.ts';

/** The parts of a session that its configuration depends on. */
export interface ConfiguredSession {
  readonly principals: readonly { readonly grant: string }[];
}

export interface ConfigurationRelayOptions {
  readonly source: RelaySource;
  readonly mesh: MeshState;
  /** The live sessions, plus the ones that ended recently. */
  readonly live: { readonly all: () => Iterable<{ readonly session: ConfiguredSession; readonly ended?: object }> };
  /** The writer number of this process (see store/open.ts). */
  readonly epoch: number;
  readonly onFailure: (cause: unknown) => void;
}

const SWEEP_MS = 5_000;
/** How long a set of grants and its streams are kept when no session uses them, in milliseconds. */
const GRACE_MS = 60_000;
/**
 * The maximum number of versions per broker process. A version starts with the epoch of the process so that versions
 * keep increasing when another broker takes over.
 */
const VERSIONS = 100_000_000;

interface GrantSet {
  readonly names: readonly string[];
  readonly state: GrantSetState;
  /** When the set was last used, in milliseconds according to a monotonic clock. */
  wantedAt: number;
}

/** Starts the relay, which opens streams as sessions need them. */
export function createConfigurationRelay(options: ConfigurationRelayOptions) {
  const { source, mesh } = options;
  const sets = new Map<string, GrantSet>();
  /** The state of every grant that is part of at least one set. */
  const grants = new Map<string, GrantState>();
  const listeners = new Set<() => void>();
  let version = options.epoch * VERSIONS;
  const nextVersion = () => ++version;

  /** Filters the given grants to those in the current access file, and sorts them in the order of the file. */
  const inOrder = (held: readonly string[]): readonly string[] => {
    const names = new Set(held);
    const { grants: all } = mesh.inForce() ? mesh.access() : { grants: [] };
    return all.map(({ name }) => name).filter((name) => names.has(name));
  };
  const namesOf = (session: ConfiguredSession) => inOrder(session.principals.map(({ grant }) => grant));

  /** Merges the configurations of a set's grants. Returns undefined while any of them is missing. */
  const merge = (held: readonly string[]): GrantSetConfiguration | undefined => {
    // If one of the grants is no longer in the access file, there are no more sessions with this set.
    const names = inOrder(held);
    if (names.length < held.length) return undefined;
    const configurations = names.map((name) => grants.get(name)?.configuration());
    return configurations.every((one) => one !== undefined) ? mergeGrants(configurations) : undefined;
  };

  /** Recomputes the configuration of a set after one of its grants has changed. */
  const refresh = ({ names, state }: GrantSet): void => {
    try {
      const content = merge(names);
      if (content && state.update(content)) for (const listener of listeners) listener();
    } catch (thrown) {
      options.onFailure(thrown);
    }
  };

  const openGrant = (grant: string): GrantState => {
    const onChange = () => {
      for (const set of sets.values()) if (set.names.includes(grant)) refresh(set);
    };
    return openGrantStream({ grant, mesh, source, onFailure: options.onFailure, onChange });
  };

  const wantSet = (names: readonly string[]): GrantSetState | undefined => {
    if (names.length === 0) return undefined;
    const key = grantSet(names);
    const known = sets.get(key);
    if (known) {
      known.wantedAt = performance.now();
      return known.state;
    }
    for (const name of names) if (!grants.has(name)) grants.set(name, openGrant(name));
    const set = {
      names,
      state: createGrantSetState({ ...source, grants: names }, nextVersion),
      wantedAt: performance.now(),
    };
    sets.set(key, set);
    refresh(set);
    return set.state;
  };

  const sweep = (): void => {
    for (const { session, ended } of options.live.all()) if (!ended) wantSet(namesOf(session));
    const oldest = performance.now() - GRACE_MS;
    for (const [key, { wantedAt }] of sets) if (wantedAt < oldest) sets.delete(key);
    const needed = new Set([...sets.values()].flatMap(({ names }) => names));
    for (const [grant, state] of grants) {
      if (needed.has(grant)) continue;
      state.stop();
      grants.delete(grant);
    }
  };

  const unwatch = mesh.onChange(() => {
    for (const state of grants.values()) state.meshChanged();
    for (const set of sets.values()) refresh(set);
    sweep();
  });
  const sweeping = setInterval(sweep, SWEEP_MS).unref();
  sweep();

  return {
    /**
     * Returns the configuration for a session, or undefined until istiod has responded. If the session's set of grants
     * is new, this opens the streams for it.
     */
    current: (session: ConfiguredSession) => wantSet(namesOf(session))?.current(),
    /** Registers a listener for changes to any configuration. Returns a function that removes the listener. */
    onChange: (listener: () => void) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    /** Returns how many streams to istiod are open. */
    streams: () => grants.size,
    /** Returns which resources were left out of the configurations of all grants. */
    leftOut: () => [...grants.values()].flatMap((state) => state.configuration()?.leftOut ?? []),
    stop: () => {
      unwatch();
      clearInterval(sweeping);
      for (const state of grants.values()) state.stop();
      listeners.clear();
    },
  };
}
