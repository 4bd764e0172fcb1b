/**
 * Which live sessions may gain something, and when: a time window has opened, or another access file is in force. They are looked at
 * one after the other, so that a thousand sessions that gain in the same moment do not all ask istiod for a certificate at once.
 */
import { type Access, openUntil } from '@meshpass/access';
import { toMeshpassError } from '@meshpass/identity';
import { seconds } from '../../clock/clock.ts';
import { pause } from '../../clock/timers.ts';
import type { Live } from '../live.ts';
import type { GainCause } from '../session.ts';
import { gainWhatIsGiven, type WidenContext } from '../widen.ts';

/** istiod signs about 80 certificates a second, and renewals go on meanwhile. ms. */
const PACE_MS = 25;
const LOOK_MS = 500;
const RETRY_MS = 2_000;
/** Sessions that are looked at without letting anything else run. */
const AT_ONCE = 20;

export interface GainQueue {
  /** All live sessions may have gained something. */
  readonly all: (cause: GainCause) => void;
  /** This one may have. */
  readonly add: (live: Live, cause: GainCause) => void;
  /** It has just opened. What came meanwhile went past it, because it was not live yet. @param decidedBy the access file that opened it */
  readonly opened: (live: Live, decidedBy: Access) => void;
  readonly stop: () => void;
}

/** Follows windows and access files from now on; sessions that are live now are looked at first. */
export function startGaining(context: WidenContext, isLeader: () => boolean): GainQueue {
  const { mesh, live } = context;
  const stopping = new AbortController();
  const { signal } = stopping;
  /** Undefined: the cause is found out for each grant. */
  const pending = new Map<Live, GainCause | undefined>();
  let access: Access | undefined;
  let open: ReadonlyMap<string, number> = new Map();
  let running = false;

  const add = (one: Live, cause: GainCause | undefined) => {
    if (!one.ended) pending.set(one, cause);
    if (running || signal.aborted) return;
    running = true;
    void run();
  };
  const all = (cause: GainCause | undefined) => {
    for (const one of live.all()) add(one, cause);
  };
  const opened = (one: Live, decidedBy: Access) => {
    if (!mesh.inForce()) return;
    const current = mesh.access();
    if (current !== decidedBy) return add(one, 'access_widened');
    const then = openWindows(current, one.session.openedAt);
    const now = openWindows(current, seconds(context.clock));
    if ([...now.keys()].some((name) => !then.has(name))) add(one, 'window_opened');
  };
  const run = async (): Promise<void> => {
    let looked = 0;
    while (pending.size > 0 && !signal.aborted) {
      const [one, cause] = pending.entries().next().value!;
      pending.delete(one);
      if (!isLeader()) continue;
      try {
        const gained = await gainWhatIsGiven(context, one, cause);
        if (gained) await pause(PACE_MS, signal);
        else if (++looked % AT_ONCE === 0) await pause(0, signal);
      } catch (thrown) {
        context.onFailure(thrown);
        if (toMeshpassError(thrown).retryable) pending.set(one, cause);
        await pause(RETRY_MS, signal);
      }
    }
    running = false;
  };
  const look = () => {
    if (!mesh.inForce() || !isLeader()) return;
    const before = access;
    access = mesh.access();
    const was = open;
    const now = seconds(context.clock);
    open = openWindows(access, now);
    // What happened before the first look, under another broker or under none, nobody has told.
    if (!before) all(undefined);
    else if (access !== before) all('access_widened');
    // One that closed and opened again between two looks has opened, too.
    else if ([...open.keys()].some((name) => (was.get(name) ?? 0) <= now)) all('window_opened');
  };
  const unwatch = mesh.onChange(look);
  const looking = setInterval(look, LOOK_MS).unref();
  look();
  return {
    ...{ all, add, opened },
    stop: () => {
      unwatch();
      clearInterval(looking);
      stopping.abort();
    },
  };
}

/** Grants of which a time window is open, each with when it closes. */
function openWindows({ grants }: Access, now: number): ReadonlyMap<string, number> {
  return new Map(
    grants.flatMap(({ name, during }) => {
      const until = during && openUntil(during, now);
      return until === undefined ? [] : [[name, until] as const];
    }),
  );
}
