/**
 * Initial credentials in the response that opens a session, if its agent sent CSRs with the proof: certificates,
 * identity token and configuration, if available at once. Each is decided and audited like a later request. A refused
 * or late credential is omitted. The agent then requests it and receives the reason.
 */
import { MAX_INITIAL_CONFIGURATION_BYTES, type SessionResponse } from '@meshpass/identity';
import {
  type AuditAction,
  type AuditEvent,
  createAuditEvent,
  isWithheld,
  type Outcome,
  recordRefusal,
} from '../../audit/index.ts';
import type { createSlots } from '../../http/index.ts';
import { type CertificateContext, issueCertificates } from '../certificate/issue.ts';
import { type Live, sessionMembers } from '../session/live.ts';
import { grantsOf } from '../session/session.ts';
import { deriveToken } from '../token/derive.ts';
import type { TokenForm } from '../token/form.ts';
import type { TokenContext } from '../token/identity-token.ts';
import type { ConfigurationRoutesContext } from './configuration.ts';

/** Components that issue the credentials. */
export interface InitialCredentialsContext extends TokenContext, CertificateContext, ConfigurationRoutesContext {}

/** A session that has just opened. */
export interface OpenedSession {
  readonly live: Live;
  readonly form: TokenForm;
  /** The exchange's event, with its source. */
  readonly event: AuditEvent;
}

/** Credentials to include in the response. */
export type InitialCredentials = Pick<SessionResponse, 'certificates' | 'identity_token' | 'configuration'>;

/**
 * Maximum wait for the certificates, ms. Under load the agent must receive its session token before its request times
 * out.
 */
const CERTIFICATES_MS = 2_000;
/**
 * Issues the initial credentials.
 * @param renewals slots for requests by sessions; returns nothing if none is free
 */
export async function issueInitialCredentials(
  context: InitialCredentialsContext,
  renewals: ReturnType<typeof createSlots>,
  { live, form, event }: OpenedSession,
): Promise<InitialCredentials> {
  if (live.ended) return {};
  // Requested early, so that istiod can respond while the certificates are signed.
  context.configurations?.current(live.session);
  const done = take(renewals, live);
  if (!done) return {};
  try {
    const begin = (action: AuditAction): AuditEvent => ({
      ...createAuditEvent(action, event, context.clock, context.random),
      ...sessionMembers(live.session),
    });
    const certificates = grantsOf(live.session)
      .slice(0, form.csrs.length)
      .map((name, at) => ({
        grant: name,
        csr: form.csrs[at]!,
      }));
    const [issued, token] = await Promise.all([
      certificates.length === 0
        ? undefined
        : issueCertificates(context, {
            body: { certificates },
            live,
            event: begin('certificate.issue'),
            signal: AbortSignal.timeout(CERTIFICATES_MS),
          }),
      deriveToken(context, { live, event: begin('token.issue') }),
    ]);
    const announced = context.control.announced(live.session);
    return {
      certificates: issued && (await given(context, issued))?.certificates,
      identity_token: await given(context, token),
      // A larger configuration has its own route, which limits such responses.
      ...(announced &&
        announced.content.length <= MAX_INITIAL_CONFIGURATION_BYTES && {
          configuration: { statement: announced.statement, content: announced.content.toString() },
        }),
    };
  } finally {
    done();
  }
}

function take(renewals: ReturnType<typeof createSlots>, live: Live): (() => void) | undefined {
  try {
    return renewals.take(live.session.id);
  } catch {
    return undefined;
  }
}

/** Returns a granted value. A refusal is recorded like one that is sent to the client. */
async function given<T>({ audit }: InitialCredentialsContext, outcome: Outcome<T>): Promise<T | undefined> {
  if (outcome.granted) return outcome.value;
  // The row is lost if the store is unavailable, but nothing was granted.
  if (!isWithheld(outcome)) await recordRefusal(audit, outcome).catch(() => {});
  return undefined;
}
