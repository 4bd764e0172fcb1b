/** The ways in which a drill can end its own session. */
import type { DrillCause } from '@meshpass/identity/drill-report';
import { MeshpassError } from '@meshpass/identity/error';
import type { SessionInfo } from '@meshpass/identity/wire';
import { type Credentials, callBroker } from './credentials.ts';
import type { Operator } from './operator.ts';

export interface CauseContext {
  readonly credentials: Credentials;
  readonly session: SessionInfo;
  readonly operator: Operator | undefined;
  /** Opens a new session of the same workspace. */
  readonly rebuild: () => Promise<void>;
  /** How long to wait for a cause from outside, ms. */
  readonly wait: number;
}

/** What the store calls each of them (sessions.close_cause); from outside any may come. */
export const RECORDED_AS: Readonly<Record<Exclude<DrillCause, 'outside'>, string>> = {
  goodbye: 'goodbye',
  admin: 'operator',
  lapse: 'lease_lapsed',
  rebuild: 'replaced',
};

const POLL_MS = 250;
const SECOND_MS = 1_000;

/**
 * Ends the session, or waits until it has ended.
 * @returns instant of the cause, performance.now()
 * @throws MeshpassError where the session cannot be ended so
 */
export async function end(cause: DrillCause, context: CauseContext): Promise<number> {
  const { credentials, session, operator } = context;
  switch (cause) {
    case 'goodbye': {
      const at = performance.now();
      const answer = await callBroker(credentials, 'DELETE', '/session');
      if (answer.status >= 300) throw notEnded(`the broker answered its goodbye with ${answer.status}`);
      return at;
    }
    case 'admin': {
      const at = performance.now();
      await operator!.close(session.id);
      return at;
    }
    case 'rebuild': {
      const at = performance.now();
      await context.rebuild();
      return at;
    }
    case 'lapse': {
      const answer = await callBroker(credentials, 'POST', '/session/heartbeat');
      if (answer.status !== 200) throw notEnded(`the broker answered a heartbeat with ${answer.status}`);
      const lapses = performance.now() + session.lease_seconds * 1000;
      // The broker counts whole seconds: until the next has begun, a heartbeat would bring it back to life.
      await pause(lapses + SECOND_MS - performance.now());
      return lapses;
    }
    case 'outside': {
      const deadline = performance.now() + context.wait;
      for (;;) {
        const asked = performance.now();
        const answer = await callBroker(credentials, 'POST', '/session/heartbeat');
        if (answer.status === 401) return asked;
        if (performance.now() > deadline) throw notEnded(`nothing ended it in ${context.wait / 1000} s`);
        await pause(POLL_MS);
      }
    }
  }
}

function notEnded(why: string): MeshpassError {
  return new MeshpassError('drill_proves_nothing', `The session was not ended: ${why}.`);
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
