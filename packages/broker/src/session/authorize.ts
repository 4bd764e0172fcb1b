/** From an attestation to a session that may open: what the access file grants to whoever was attested. */
import type { Access, Authorize, Decision } from '@meshpass/access';
import { type Attestation, MAX_GRANTS, MeshpassError, serviceAccountName } from '@meshpass/identity';
import { sha256Hex } from '@meshpass/identity/hash';
import type { Losses } from '../attest/github/losses.ts';
import { granted, type Outcome, refused } from '../audit/log/decision.ts';
import type { AuditEvent } from '../audit/log/event.ts';
import type { Entry, Journal } from '../audit/log/journal.ts';
import { type Clock, type Random, seconds } from '../clock/clock.ts';
import type { MeshState } from '../reconcile/contract.ts';
import { withoutLosses } from './drop-lost.ts';
import { HARD_LIMIT_SECONDS, principalOf, type Session } from './session.ts';

export interface AuthorizeContext {
  readonly authorize: Authorize;
  readonly mesh: MeshState;
  readonly losses: Losses;
  readonly journal: Journal;
  readonly trustDomain: string;
  readonly clock: Clock;
  readonly random: Random;
}

export interface AuthorizeRequest {
  readonly attestation: Attestation;
  /** `Losses.now` before the proof was looked at. */
  readonly asked: number;
  /** Thumbprint of the key that the session is bound to. */
  readonly jkt: string;
  /** Of a proof for one use. */
  readonly replay?: Entry['replay'] | undefined;
  readonly event: AuditEvent;
}

/** A session that may open; what may have changed until it has opened is held against `access` and `checked`. */
export interface Authorized {
  readonly session: Session;
  /** Its token, which exists nowhere else. */
  readonly token: string;
  /** The access file that it was decided by. */
  readonly access: Access;
  /** `Losses.now` when it was decided. */
  readonly checked: number;
}

/**
 * @returns refused with `access_none`, `kubernetes_unavailable` while no access file is in force, and what withoutLosses() throws
 */
export async function authorizeSession(
  context: AuthorizeContext,
  request: AuthorizeRequest,
): Promise<Outcome<Authorized>> {
  const { event, replay } = request;
  const { losses } = context;
  try {
    const access = context.mesh.access();
    const token = `mps_${context.random(32).toString('base64url')}`;
    const { organization } = access.trust.codespaces ?? {};
    const attestation = withoutLosses(losses, request.attestation, request.asked, organization);
    const checked = losses.now();
    const { session, reason } = await decide(context, { ...request, attestation }, access, token).catch(
      async (denied: unknown) => {
        // One token is good for one decision, whichever it is: otherwise anybody's can be refused without end.
        if (replay) await context.journal.write({ replay, audit: [] });
        throw denied;
      },
    );
    const grant = session.grants.map(({ name }) => name).join(',');
    return granted({ ...event, sessionId: session.id, grant, reason }, { session, token, access, checked });
  } catch (thrown) {
    return refused(event, thrown);
  }
}

async function decide(
  { authorize, random, clock, trustDomain }: AuthorizeContext,
  { attestation, jkt }: AuthorizeRequest,
  access: Access,
  token: string,
): Promise<{ readonly session: Session; readonly reason: string }> {
  const now = seconds(clock);
  const decision = authorize(attestation, access, now);
  if (decision.grants.length === 0 && decision.signIns) throw signInRequired(decision);
  if (decision.grants.length === 0)
    throw new MeshpassError('access_none', 'No grant of the access file applies to you; ask its owners.', {
      detail: { reason: decision.refusals.join('; ') },
    });
  if (decision.grants.length > MAX_GRANTS)
    throw new MeshpassError(
      'access_none',
      `${decision.grants.length} grants of the access file apply to you, but a session can have at most ${MAX_GRANTS}; ask its owners for fewer.`,
      { detail: { reason: decision.grants.map(({ grant }) => grant.name).join(', ') } },
    );
  const id = random(12).toString('hex');
  const grants = decision.grants.map(({ grant, until = Number.POSITIVE_INFINITY }) => ({
    name: grant.name,
    until: Math.min(until, now + Math.min(grant.session, HARD_LIMIT_SECONDS)),
  }));
  const serviceAccount = serviceAccountName(attestation.login, id.slice(0, 12));
  const principals = grants.map(({ name }) => principalOf(name, serviceAccount, trustDomain));
  const expiresAt = Math.max(...grants.map((grant) => grant.until));
  return {
    session: { id, tokenHash: sha256Hex(token), jkt, attestation, openedAt: now, expiresAt, grants, principals },
    reason: decision.grants.map(({ grant, reason }) => `${grant.name}: ${reason}`).join('; '),
  };
}

/** Whoever lacks nothing but a sign-in is told where. */
function signInRequired({ signIns = [], refusals }: Decision): MeshpassError {
  const issuers = [...new Set(signIns.map(({ issuer }) => issuer))];
  return new MeshpassError(
    'sign_in_required',
    `Your grants (${signIns.map(({ grant }) => grant).join(', ')}) need a sign-in at ${issuers.join(' or ')}: run meshpass login --issuer ${issuers[0]}, or meshpass up --sign-in ${issuers[0]} where no agent runs.`,
    { detail: { reason: refusals.join('; ') }, members: { sign_in: issuers } },
  );
}
