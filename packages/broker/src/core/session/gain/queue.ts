/**
 * Queues live sessions that may gain grants because a time window opened or the access file changed. Sessions are
 * processed one at a time, so that a thousand simultaneous gains do not overload istiod with certificate requests.
 */
import { type Access, openUntil } from '@meshpass/access';
import { toMeshpassError } from '@meshpass/identity';
import { pause, toUnixSeconds } from '../../../base/index.ts';
import type { SessionContext } from '../context.ts';
import type { Live } from '../live.ts';
import { addEntitledGrants } from '../widen.ts';

/**
 * How long to pause after each session that gains grants, in milliseconds. istiod signs about 80 certificates per
 * second, including renewals.
 */
const PACE_MS = 25;
const LOOK_MS = 500;
const RETRY_MS = 2_000;
/** The number of sessions to check before yielding to other work. */
const AT_ONCE = 20;

/** A queue of live sessions that need to be checked for new grants. */
export type GainQueue = ReturnType<typeof startGainQueue>;

/** Starts watching the time windows and the access file. Initially, all live sessions are queued. */
export function startGainQueue(context: SessionContext) {
  const { mesh, live } = context;
  const { isLeader } = context.store;
  const stopping = new AbortController();
  const { signal } = stopping;
  const pending = new Set<Live>();
  let access: Access | undefined;
  let open: ReadonlyMap<string, number> = new Map();
  let running = false;

  const add = (one: Live) => {
    if (!one.ended) pending.add(one);
    if (running || signal.aborted) return;
    running = true;
    void run();
  };
  const opened = (one: Live, decidedBy: Access) => {
    if (!mesh.inForce()) return;
    const current = mesh.access();
    const then = openWindows(current, one.session.openedAt);
    const now = openWindows(current, toUnixSeconds(context.clock));
    if (current !== decidedBy || [...now.keys()].some((name) => !then.has(name))) add(one);
  };
  const run = async (): Promise<void> => {
    let looked = 0;
    while (pending.size > 0 && !signal.aborted) {
      const one = pending.values().next().value!;
      pending.delete(one);
      if (!isLeader()) continue;
      try {
        const gained = await addEntitledGrants(context, one);
        if (gained) await pause(PACE_MS, signal);
        else if (++looked % AT_ONCE === 0) await pause(0, signal);
      } catch (thrown) {
        context.onFailure(thrown);
        if (toMeshpassError(thrown).retryable) pending.add(one);
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
    const now = toUnixSeconds(context.clock);
    open = openWindows(access, now);
    // Closing times are compared as well, to detect windows that closed and reopened between two checks.
    if (access !== before || [...open.keys()].some((name) => (was.get(name) ?? 0) <= now))
      for (const one of live.all()) add(one);
  };
  const unwatch = mesh.onChange(look);
  const looking = setInterval(look, LOOK_MS).unref();
  look();
  return {
    /** Adds a session to the queue. */
    add,
    /**
     * Adds a newly opened session if it may have missed a change while it was being opened.
     * @param decidedBy the access file that the session was authorized with
     */
    opened,
    stop: () => {
      unwatch();
      clearInterval(looking);
      stopping.abort();
    },
  };
}

/** Returns the closing time of each open time window in Unix seconds, keyed by grant name. */
function openWindows({ grants }: Access, now: number): ReadonlyMap<string, number> {
  return new Map(
    grants.flatMap(({ name, during }) => {
      const until = during && openUntil(during, now);
      return until === undefined ? [] : [[name, until] as const];
    }),
  );
}
