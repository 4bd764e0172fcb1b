/**
 * The relay: Envoy's configuration of all live sessions. One stream to istiod per grant, whose result all its sessions share; one
 * configuration per set of grants. What nobody holds any more ends after a while.
 */

import type { MeshState } from '../reconcile/contract.ts';
import type { LiveIndex } from '../session/live.ts';
import type { Session } from '../session/session.ts';
import { type GrantState, openGrant } from './grant-state.ts';
import type { RelaySource } from './relay-source.ts';
import { type Configured, openSet, type SetState } from './set-state.ts';
import type { LeftOutCount } from './transform/left-out.ts';
import { mergeGrants, type SetConfiguration } from './transform/merge.ts';
import type { Versions } from './versions.ts';

export type { Configured } from './set-state.ts';

export interface Configurations {
  /** Names the set of grants that a session holds now. */
  readonly keyOf: (session: Session) => string;
  /** Undefined while istiod has not answered yet. Where the session is new to the relay, that begins now. */
  readonly current: (session: Session) => Configured | undefined;
  /**
   * The same, under a version that is above `version`, where the session had that with other grants before.
   * @throws MeshpassError `store_unavailable`
   */
  readonly above: (session: Session, version: number) => Promise<Configured | undefined>;
  /** Called after each change of the configuration of a set of grants; returns its own cancellation. */
  readonly onChange: (listener: (key: string) => void) => () => void;
  /** Streams to istiod. */
  readonly streams: () => number;
  /** Of all grants that are followed now. */
  readonly leftOut: () => readonly LeftOutCount[];
  readonly stop: () => void;
}

export interface ConfigurationOptions {
  readonly source: RelaySource;
  readonly mesh: MeshState;
  readonly live: Pick<LiveIndex, 'all'>;
  readonly versions: Versions;
  readonly onFailure: (cause: unknown) => void;
  /** 0 to 1. */
  readonly random: () => number;
  /** ms for which a stream stays without a session. */
  readonly graceMs?: number;
}

const SWEEP_MS = 5_000;
const GRACE_MS = 60_000;

interface Wanted<State> {
  readonly state: State;
  /** On the monotonic clock, ms. */
  wantedAt: number;
}

export function createConfigurations(options: ConfigurationOptions): Configurations {
  const { source, mesh, graceMs = GRACE_MS } = options;
  const grants = new Map<string, Wanted<GrantState>>();
  const sets = new Map<string, Wanted<SetState> & { readonly names: readonly string[] }>();
  const listeners = new Set<(key: string) => void>();

  const order = () => (mesh.inForce() ? mesh.access().grants.map(({ name }) => name) : []);
  const namesOf = (session: Session): readonly string[] => {
    const held = new Set(session.grants.map(({ name }) => name));
    return order().filter((name) => held.has(name));
  };

  const wantGrant = (grant: string): void => {
    const known = grants.get(grant);
    if (known) known.wantedAt = performance.now();
    else
      grants.set(grant, {
        wantedAt: performance.now(),
        state: openGrant({
          ...{ grant, mesh, source, onFailure: options.onFailure, random: options.random },
          onChange: () => {
            for (const { names, state } of sets.values()) if (names.includes(grant)) state.refresh();
          },
        }),
      });
  };

  const wantSet = (names: readonly string[]): SetState | undefined => {
    if (names.length === 0) return undefined;
    const key = names.join(',');
    const known = sets.get(key);
    if (known) {
      known.wantedAt = performance.now();
      return known.state;
    }
    for (const name of names) wantGrant(name);
    const state = openSet({
      ...{ grants: names, versions: options.versions, onFailure: options.onFailure },
      ...{ trustDomain: source.trustDomain, clusterDomain: source.clusterDomain },
      merge: () => merge(names),
      onChange: () => {
        for (const listener of listeners) listener(key);
      },
    });
    sets.set(key, { names, state, wantedAt: performance.now() });
    state.refresh();
    return state;
  };

  const merge = (names: readonly string[]): SetConfiguration | undefined => {
    const configurations = names.map((name) => grants.get(name)?.state.configuration());
    if (!configurations.every((one) => one !== undefined)) return undefined;
    const ports = new Map(mesh.ports().map((one) => [`${one.grant} ${one.host}:${one.port}`, one]));
    return mergeGrants(configurations, (grant, { host, port }) => ports.get(`${grant} ${host}:${port}`) ?? NOTHING);
  };

  const sweep = (): void => {
    const held = new Map<string, readonly string[]>();
    for (const { session, ended } of options.live.all()) {
      if (ended) continue;
      const names = namesOf(session);
      held.set(names.join(','), names);
    }
    for (const names of held.values()) {
      wantSet(names);
      for (const name of names) wantGrant(name);
    }
    const oldest = performance.now() - graceMs;
    for (const all of [sets, grants] as Map<string, Wanted<{ stop: () => void }>>[])
      for (const [key, { state, wantedAt }] of all) {
        if (wantedAt >= oldest) continue;
        state.stop();
        all.delete(key);
      }
  };

  const unwatch = mesh.onChange(() => {
    for (const { state } of grants.values()) state.meshChanged();
    for (const { state } of sets.values()) state.refresh();
    sweep();
  });
  const sweeping = setInterval(sweep, SWEEP_MS).unref();
  sweep();

  return {
    keyOf: (session) => namesOf(session).join(','),
    current: (session) => wantSet(namesOf(session))?.current(),
    above: async (session, version) => wantSet(namesOf(session))?.above(version),
    onChange: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    streams: () => grants.size,
    leftOut: () => [...grants.values()].flatMap(({ state }) => state.configuration()?.leftOut ?? []),
    stop: () => {
      unwatch();
      clearInterval(sweeping);
      for (const { state } of [...sets.values(), ...grants.values()]) state.stop();
      listeners.clear();
    },
  };
}

/** A grant whose port is gone allows nothing there. */
const NOTHING = { allow: [] };
