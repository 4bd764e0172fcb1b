/**
 * Shuts down an edge without losing requests (decision 0033). The edge continues to serve while it asks agents to open
 * their tunnels through other edges, and waits until the old tunnels are idle.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type DrainingTunnels, MAX_DRAINING_SESSIONS } from '@meshpass/identity/channel';
import type { ControlBroker, ControlHub } from '../control/hub.ts';
import type { EdgeLog } from '../log.ts';

export interface DrainOptions {
  /** Returns all connections. Those that do not belong to a session are ignored. */
  readonly tunnels: () => Iterable<DrainedTunnel>;
  /** The hub for control connections. Undefined if the edge does not serve any. */
  readonly control: Pick<ControlHub, 'drain' | 'tunnelsDraining'> | undefined;
  readonly broker: Pick<ControlBroker, 'draining'> | undefined;
  /** Returns the current time in Unix milliseconds. */
  readonly clock: () => number;
  readonly log: EdgeLog;
}

export interface DrainedTunnel {
  readonly sessionId: string | undefined;
  /** When the connection was last put to use, in Unix milliseconds. Undefined while it is idle. */
  readonly busySince: number | undefined;
}

/**
 * How often notices are repeated, in milliseconds. A single notice could get lost while an agent switches between two
 * control connections, or while another broker takes over.
 */
const REPEAT_MS = 2_000;
/** How long the edge must be without any tunnels before it assumes that no more will follow, in milliseconds. */
const QUIET_MS = 1_000;
const POLL_MS = 250;

/**
 * Waits until no tunnels are left, or until `longestMs` milliseconds have passed.
 * @returns the number of tunnels that remain
 */
export async function drainTunnels(draining: DrainOptions, longestMs: number): Promise<number> {
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
    // This is sent only after the first notice: an agent that reconnects must already know that its tunnels are about
    // to end.
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

  /** Notifies agents whose control connection goes to another edge. The broker forwards the notices. */
  async function passOn(sessions: readonly DrainingTunnels[]): Promise<void> {
    if (!draining.broker || passingOn) return;
    passingOn = true;
    try {
      for (let at = 0; at < sessions.length; at += MAX_DRAINING_SESSIONS) {
        await draining.broker.draining(sessions.slice(at, at + MAX_DRAINING_SESSIONS));
      }
    } catch (err) {
      log.warn({ err }, 'the broker did not forward the notice of draining tunnels');
    } finally {
      passingOn = false;
    }
  }
}
