/**
 * Includes initial credentials in the response that opens a session, if the agent sent CSRs along with its proof. The
 * credentials are the certificates, the identity token and, if it is already available, the configuration. Each of them
 * is decided and audited as if it had been requested separately. A credential that is refused or late is omitted. The
 * agent then requests it separately and learns the reason.
 */

import { toMeshpassError } from '@meshpass/identity';
import { MAX_INITIAL_CONFIGURATION_BYTES, type SessionResponse } from '@meshpass/identity/wire';
import { type AuditAction, type AuditEvent, createAuditEvent, recordRefusal } from '../../audit/index.ts';
import type { createSlots } from '../../http/index.ts';
import { issueCertificates } from '../certificate/issue.ts';
import type { SessionContext } from '../session/context.ts';
import { type Live, sessionMembers } from '../session/live.ts';
import { grantsOf } from '../session/session.ts';
import type { TokenForm } from '../token/form.ts';
import { deriveToken } from '../token/identity-token.ts';

/** The credentials to include in the response. */
type InitialCredentials = Pick<SessionResponse, 'certificates' | 'identity_token' | 'configuration'>;

/**
 * The maximum time to wait for the certificates, in milliseconds. Even under load, the agent must receive its session
 * token before its request times out.
 */
const CERTIFICATES_MS = 2_000;

/**
 * Issues the initial credentials of a session that was just opened.
 * @param renewals the slots for requests from sessions. If no slot is free, no credentials are issued.
 * @param csrs the CSRs that were sent along with the proof
 * @param exchange the audit event of the exchange, including its source address
 */
export async function issueInitialCredentials(
  context: SessionContext,
  renewals: ReturnType<typeof createSlots>,
  live: Live,
  csrs: TokenForm['csrs'],
  exchange: AuditEvent,
): Promise<InitialCredentials> {
  if (live.ended) return {};
  let done: () => void;
  try {
    done = renewals.take(live.session.id);
  } catch {
    return {};
  }
  /** Issues a single credential. A refusal is recorded as if it had been sent to the client. */
  const attempt = async <T>(action: AuditAction, issue: (event: AuditEvent) => Promise<T>): Promise<T | undefined> => {
    const { audit, clock, random } = context;
    const own = { ...createAuditEvent(action, exchange, clock, random), ...sessionMembers(live.session) };
    try {
      return await issue(own);
    } catch (thrown) {
      // If the store is unavailable, the audit row is lost. This is acceptable, because no access was granted.
      if (!own.written) await recordRefusal(audit, own, toMeshpassError(thrown)).catch(() => {});
      return undefined;
    }
  };
  try {
    const grants = grantsOf(live.session).slice(0, csrs.length);
    const certificates = grants.map((grant, at) => ({ grant, csr: csrs[at]! }));
    const [issued, token] = await Promise.all([
      attempt('certificate.issue', (event) => {
        const signal = AbortSignal.timeout(CERTIFICATES_MS);
        return issueCertificates(context, { body: { certificates }, live, event, signal });
      }),
      attempt('token.issue', (event) => deriveToken(context, { live, event })),
    ]);
    const announced = context.control.announced(live.session);
    return {
      certificates: issued?.certificates,
      identity_token: token,
      // Larger configurations are served only by their own route, which limits the number of concurrent responses.
      ...(announced &&
        announced.content.length <= MAX_INITIAL_CONFIGURATION_BYTES && {
          configuration: { statement: announced.statement, content: announced.content.toString() },
        }),
    };
  } finally {
    done();
  }
}
