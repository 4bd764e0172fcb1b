/**
 * How an edge ends without losing a request (decision 0033): it goes on as before, has the agents of its tunnels open others, which lead
 * to other edges, and waits until what is under way on the old ones is done.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type DrainingTunnels, MAX_DRAINING } from '@meshpass/identity/channel/edge-wire';
import type { ControlBroker, ControlHub } from '../control/hub.ts';
import type { EdgeLog } from '../log.ts';

export interface Draining {
  /** Every connection; those of no session are not waited for. */
  readonly tunnels: () => Iterable<DrainedTunnel>;
  /** Absent: nobody can be told. */
  readonly control: Pick<ControlHub, 'drain' | 'tunnelsDraining'> | undefined;
  readonly broker: Pick<ControlBroker, 'draining'> | undefined;
  /** Unix ms. */
  readonly clock: () => number;
  readonly log: EdgeLog;
}

export interface DrainedTunnel {
  readonly sessionId: string | undefined;
  /** Since when it carries something, or is about to, Unix ms; undefined where nothing was asked of it. */
  readonly busySince: number | undefined;
}

/** Agents are told again: an agent may be between two control connections, and brokers take over from each other. */
const REPEAT_MS = 2_000;
/** Without a tunnel for so long there comes no other one, ms. */
const QUIET_MS = 1_000;
const POLL_MS = 250;

/**
 * Resolves when there are no tunnels any more, or after `longestMs`.
 * @returns how many are left
 */
export async function drainTunnels(draining: Draining, longestMs: number): Promise<number> {
  const { control, clock, log } = draining;
  const startedAt = performance.now();
  let busyAt = startedAt;
  let toldAt = Number.NEGATIVE_INFINITY;
  let passingOn = false;
  let isFirst = true;
  for (;;) {
    const now = performance.now();
    const { busy, sessions } = look();
    if (busy > 0) busyAt = now;
    if (now - startedAt >= longestMs || now - busyAt >= QUIET_MS) {
      log.info({ left: busy, seconds: Math.round((now - startedAt) / 1000) }, 'the edge has drained');
      return busy;
    }
    if (isFirst) log.info({ tunnels: busy, sessions: sessions.length }, 'the edge drains');
    if (sessions.length > 0 && now - toldAt >= REPEAT_MS) {
      toldAt = now;
      control?.tunnelsDraining(sessions);
      void passOn(sessions);
    }
    // Not before: whoever goes to another edge must have heard of its tunnels.
    if (isFirst) control?.drain();
    isFirst = false;
    await sleep(POLL_MS);
  }

  function look(): { readonly busy: number; readonly sessions: readonly DrainingTunnels[] } {
    const now = clock();
    const ages = new Map<string, number>();
    let busy = 0;
    for (const { sessionId, busySince } of draining.tunnels()) {
      if (sessionId === undefined || busySince === undefined) continue;
      busy++;
      const age = Math.max(0, now - busySince);
      ages.set(sessionId, Math.min(age, ages.get(sessionId) ?? age));
    }
    return { busy, sessions: [...ages].map(([session_id, newest_ms]) => ({ session_id, newest_ms })) };
  }

  /** Agents whose control connection leads to another edge hear it from that one. */
  async function passOn(sessions: readonly DrainingTunnels[]): Promise<void> {
    if (!draining.broker || passingOn) return;
    passingOn = true;
    try {
      for (let at = 0; at < sessions.length; at += MAX_DRAINING) {
        await draining.broker.draining(sessions.slice(at, at + MAX_DRAINING));
      }
    } catch (err) {
      log.warn({ err }, 'the broker does not pass on that tunnels drain');
    } finally {
      passingOn = false;
    }
  }
}
