/**
 * What a session begins with, in the answer that opens it, where its agent sent CSRs with its proof: certificates, the identity token
 * and the configuration, as far as they are there at once. Each is decided and audited as if it had been asked for afterwards, and
 * what is refused or takes too long is left out: the agent asks for it then, and is told why.
 */
import { SESSION_TOKEN_TYPE, type SessionResponse } from '@meshpass/identity';
import { sha256Hex } from '@meshpass/identity/hash';
import { isWithheld, type Outcome, recordRefusal } from '../../audit/log/decision.ts';
import { type Action, type AuditEvent, newEvent } from '../../audit/log/event.ts';
import { type CertificateContext, issueCertificates } from '../../certificate/issue.ts';
import type { Random } from '../../clock/clock.ts';
import { sessionMembers } from '../../session/lifecycle.ts';
import type { Live, LiveIndex } from '../../session/live.ts';
import { type DeriveContext, deriveToken } from '../../token/derive.ts';
import type { TokenForm } from '../../token/form.ts';
import type { Configurations, Configured } from '../../xds/configurations.ts';
import { jsonResponse } from '../route.ts';
import type { Slots } from '../slots.ts';

export interface FirstCredentialsContext {
  readonly exchange: { readonly live: Pick<LiveIndex, 'byToken'>; readonly random: Random };
  readonly derive: DeriveContext;
  readonly certificates: CertificateContext;
  readonly configurations: Configurations | undefined;
}

export interface Opened {
  readonly opened: SessionResponse;
  readonly form: TokenForm;
  /** Of the exchange: where the request came from. */
  readonly event: AuditEvent;
}

export interface First extends Pick<SessionResponse, 'certificates' | 'identity_token'> {
  readonly configuration?: Configured | undefined;
}

/** Longest that the session waits for its certificates, ms: when many arrive at once, it is told its token before its agent gives up. */
const CERTIFICATES_MS = 2_000;
/** Bytes: a larger configuration is fetched, where answers of that size are counted. */
const LARGEST_CONFIGURATION = 131_072;

/** @param renewals the places that requests of sessions take; without one there is nothing yet */
export async function firstCredentials(
  context: FirstCredentialsContext,
  renewals: Slots,
  { opened, form, event }: Opened,
): Promise<First> {
  const { access_token: sessionToken } = opened;
  const live = context.exchange.live.byToken(sha256Hex(sessionToken));
  if (!live) return {};
  // Asked early, so that istiod answers while it signs.
  context.configurations?.current(live.session);
  const done = take(renewals, live);
  if (!done) return {};
  try {
    const begin = (action: Action): AuditEvent => ({
      ...newEvent(action, event, context.certificates.clock, context.exchange.random),
      ...sessionMembers(live.session),
    });
    const certificates = live.session.grants.slice(0, form.csrs.length).map(({ name }, at) => ({
      ...{ grant: name, csr: form.csrs[at]! },
    }));
    const asked = { ...form, subjectToken: sessionToken, subjectTokenType: SESSION_TOKEN_TYPE };
    const [issued, token] = await Promise.all([
      certificates.length === 0
        ? undefined
        : issueCertificates(context.certificates, {
            ...{ body: { certificates }, live, event: begin('certificate.issue') },
            signal: AbortSignal.timeout(CERTIFICATES_MS),
          }),
      deriveToken(context.derive, { form: asked, live, sessionToken, event: begin('token.issue') }),
    ]);
    const configuration = await context.configurations?.above(live.session, 0).catch(() => undefined);
    return {
      certificates: issued && (await given(context, issued))?.certificates,
      identity_token: await given(context, token),
      configuration: configuration && configuration.body.length <= LARGEST_CONFIGURATION ? configuration : undefined,
    };
  } finally {
    done();
  }
}

/** The answer, with the configuration's JSON as it is. */
export function withFirst(opened: SessionResponse, { configuration, ...first }: First): SessionResponse | Response {
  const answer = { ...opened, ...first };
  if (!configuration) return answer;
  return jsonResponse(`${JSON.stringify(answer).slice(0, -1)},"configuration":${configuration.body.toString()}}`);
}

function take(renewals: Slots, live: Live): (() => void) | undefined {
  try {
    return renewals.take(live.session.id);
  } catch {
    return undefined;
  }
}

/** @returns what was granted; a refusal is recorded as one that is answered would be */
async function given<T>({ derive }: FirstCredentialsContext, outcome: Outcome<T>): Promise<T | undefined> {
  if (outcome.granted) return outcome.value;
  // Without a store there is no row; nothing was granted either.
  if (!isWithheld(outcome)) await recordRefusal(derive.audit, outcome).catch(() => {});
  return undefined;
}
