/** Ends the session of a drill by the selected cause, and makes the operator calls that a drill needs. */
import { setTimeout as pause } from 'node:timers/promises';
import { MeshpassError } from '@meshpass/identity';
import { type DrillCause, RecordedSession } from '@meshpass/identity/drill-report';
import type { OperatorCall } from '../operator/client.ts';
import { type DrillSession, renewalVerdict, renewLease } from './session.ts';

export interface CauseContext {
  readonly held: DrillSession;
  readonly operator: Operator | undefined;
  /** Opens a new session for the same workspace. */
  readonly rebuild: () => Promise<void>;
  /** How long to wait for the session to be ended from outside, in milliseconds. */
  readonly wait: number;
}

/**
 * Maps causes to their names in the store (sessions.close_cause). The cause `outside` is not included, because such a
 * session can have any close cause.
 */
export const STORED_CLOSE_CAUSES: Readonly<Record<Exclude<DrillCause, 'outside'>, string>> = {
  goodbye: 'goodbye',
  admin: 'operator',
  lapse: 'lease_lapsed',
  rebuild: 'replaced',
};

const POLL_MS = 250;
const SECOND_MS = 1_000;

/**
 * Ends the session. If the cause is `outside`, it waits until the session has ended.
 * @returns when the session was ended, as returned by performance.now()
 * @throws MeshpassError `drill_proves_nothing` if the cause did not end the session, or the error that the broker
 *   returns
 */
export async function end(cause: DrillCause, { held, operator, rebuild, wait }: CauseContext): Promise<number> {
  if (cause === 'lapse') return await letLapse(held);
  if (cause === 'outside') return await waitForEnd(held, wait);
  const at = performance.now();
  if (cause === 'goodbye') await held.client.goodbye(held.accessToken);
  else if (cause === 'admin') await operator!.close(held.session.id);
  else await rebuild();
  return at;
}

async function letLapse(held: DrillSession): Promise<number> {
  const renewal = await renewLease(held);
  if (renewal.kind !== 'lease') throw notEnded(`it had already ended: ${renewal.cause}`);
  const lapses = performance.now() + renewal.lease_expires_at * 1000 - renewal.at;
  // Wait one second longer than the lease, because the broker's clock may be slower than the local one. Do not query the
  // broker before that, because any renewal would extend the session.
  await pause(lapses + SECOND_MS - performance.now());
  return lapses;
}

async function waitForEnd(held: DrillSession, wait: number): Promise<number> {
  const deadline = performance.now() + wait;
  for (;;) {
    const asked = performance.now();
    if ((await renewalVerdict(held)).verdict === 'refused') return asked;
    if (performance.now() > deadline) throw notEnded(`nothing ended it within ${wait / 1000} s`);
    await pause(POLL_MS);
  }
}

function notEnded(why: string): MeshpassError {
  return new MeshpassError('drill_proves_nothing', `The session was not ended: ${why}.`);
}

/** The operator calls that a drill makes. Each of them throws a MeshpassError with the broker's error code. */
export type Operator = ReturnType<typeof createDrillOperator>;

/** Creates a client for the parts of the broker's admin API that a drill uses. */
export function createDrillOperator(call: OperatorCall) {
  return {
    close: async (id: string) => {
      const { closed } = (await call('POST', '/admin/sessions/close', { id, reason: 'drill' })) as { closed: string[] };
      if (!closed.includes(id)) throw new MeshpassError('not_found', 'The broker did not find the session to close.');
    },
    recorded: async (id: string) =>
      RecordedSession.parse(await call('GET', `/admin/drill/sessions/${encodeURIComponent(id)}`)),
    /** @returns the signed report as a compact JWS */
    sign: async (report: unknown) =>
      ((await call('POST', '/admin/drill/evidence', report)) as { evidence: string }).evidence,
  };
}
