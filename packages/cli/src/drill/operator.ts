/** Operator calls of a drill: closing a session, reading its record and signing the report. */
import { RecordedSession } from '@meshpass/identity/drill-report';
import { MeshpassError } from '@meshpass/identity/error';
import type { OperatorCall } from '../operator/client.ts';

/** Operator calls; each throws MeshpassError with the broker's code. */
export type Operator = ReturnType<typeof asOperator>;

/** Wraps the broker's admin API for a drill. */
export function asOperator(call: OperatorCall) {
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
