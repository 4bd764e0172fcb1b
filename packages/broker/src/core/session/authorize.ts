/** Decides, based on an attestation and the access file, whether a session may be opened and which grants it gets. */
import { type Access, isPerson } from '@meshpass/access';
import { describeApproval } from '@meshpass/access/compile';
import { MeshpassError, serviceAccountName, sha256Hex } from '@meshpass/identity';
import { MAX_GRANTS } from '@meshpass/identity/wire';
import { type AuditEvent, annotateEvent } from '../../audit/index.ts';
import { toUnixSeconds } from '../../base/index.ts';
import type { AttestationResult } from '../../issuers/index.ts';
import type { SessionContext } from './context.ts';
import { computeEntitlement, type Entitlement } from './entitlement.ts';
import { withoutLosses } from './known-losses.ts';
import { grantsOf, principalOf, type Session } from './session.ts';

/** The maximum number of grants to list in an error message. */
const MAX_NAMED = 3;
/** The maximum length of each grant's approver list in an error message, in characters. */
const MAX_APPROVERS = 80;

/** A proof that has been verified. Its replay key prevents a single-use proof from being used twice. */
export interface Proven extends Pick<AttestationResult, 'attestation' | 'replay'> {
  /** The value that `Losses.now` returned before the proof was verified. */
  readonly lossCount: number;
}

export interface AuthorizeRequest extends Proven {
  /** The thumbprint of the key that the session will be bound to. */
  readonly jkt: string;
  readonly event: AuditEvent;
}

/**
 * Decides which grants the attested workspace receives, and prepares its session, which is not open yet.
 * @returns the session, and its token, of which the broker stores only the hash. `access` (the access file that the
 *   decision was based on) and `checked` (what `Losses.now` returned then) let the caller detect changes since then.
 * @throws MeshpassError `access_none`, `sign_in_required`, `kubernetes_unavailable` (if no access file is in effect),
 *   and the errors of withoutLosses()
 */
export async function authorizeSession(context: SessionContext, request: AuthorizeRequest) {
  const { event, replay } = request;
  const { losses } = context;
  const access = context.mesh.access();
  const token = `mps_${context.random(32).toString('base64url')}`;
  const { organization } = access.trust.codespaces ?? {};
  const attestation = withoutLosses(losses, request.attestation, request.lossCount, organization);
  const checked = losses.now();
  const { session, reason } = await decide(context, { ...request, attestation }, access, token).catch(
    async (denied: unknown) => {
      // Rejected requests also use up the single-use proof. Otherwise, a stolen proof could be replayed to cause any
      // number of refusals.
      if (replay) await context.journal.transaction((tx) => tx.once(replay));
      throw denied;
    },
  );
  annotateEvent(event, { sessionId: session.id, grant: grantsOf(session).join(','), reason });
  return { session, token, access, checked };
}

async function decide(
  { authorize, random, clock, config }: SessionContext,
  { attestation, jkt }: AuthorizeRequest,
  access: Access,
  token: string,
): Promise<{ readonly session: Session; readonly reason: string }> {
  const now = toUnixSeconds(clock);
  const entitled = computeEntitlement(authorize, { attestation, openedAt: now }, access, now);
  // Jobs from any repository can present a valid proof, so the error must not reveal the contact or which grants exist.
  const isKnown = entitled.denied === undefined && isPerson(attestation, access, now);
  const contact = isKnown ? access.contact : undefined;
  if (entitled.grants.size === 0 && entitled.signIns) throw signInRequired(entitled);
  if (entitled.grants.size === 0) throw noGrant(isKnown ? entitled : { ...entitled, requestable: [] }, contact);
  if (entitled.grants.size > MAX_GRANTS)
    throw new MeshpassError(
      'access_none',
      `${entitled.grants.size} grants in the access file apply to you, but a session can have at most ${MAX_GRANTS}. Ask ${contact ?? "the file's owners"} for fewer.`,
      {
        ...(contact !== undefined && { members: { contact } }),
        detail: { reason: [...entitled.grants.keys()].join(', ') },
      },
    );
  const id = random(12).toString('hex');
  const serviceAccount = serviceAccountName(attestation.login, id.slice(0, 12));
  const principals = [...entitled.grants].map(([grant, { until }]) =>
    principalOf({ grant, until }, serviceAccount, config.trustDomain),
  );
  return {
    session: { id, tokenHash: sha256Hex(token), jkt, attestation, openedAt: now, principals },
    reason: [...entitled.grants].map(([grant, { reason }]) => `${grant}: ${reason}`).join('; '),
  };
}

/**
 * Builds the error for a caller who has proven their identity but has no grant. It lists the grants that would require
 * an approval.
 */
function noGrant({ requestable, refusals }: Entitlement, contact: string | undefined): MeshpassError {
  const names = requestable.map(({ grant }) => grant.name);
  const approvals = requestable
    .slice(0, MAX_NAMED)
    .map(({ grant, approval }) => `${grant.name} (${describeApproval(approval, MAX_APPROVERS)})`)
    .join(', ');
  const message =
    names.length === 0
      ? `No grant in the access file applies to you. Ask ${contact ?? 'its owners'} for access.`
      : `No grant in the access file applies to you without an approval, and requesting one requires a session. Ask ${contact ?? 'its owners'} ` +
        `for a grant that does not require an approval. You can then request ${approvals}${names.length > MAX_NAMED ? ` and ${names.length - MAX_NAMED} more` : ''}.`;
  return new MeshpassError('access_none', message, {
    detail: { reason: refusals.join('; ') },
    members: { ...(contact !== undefined && { contact }), ...(names.length > 0 && { requestable: names }) },
  });
}

/** Builds the error for a developer who only needs to sign in. It lists the issuers where they can do so. */
function signInRequired({ signIns = [], refusals }: Entitlement): MeshpassError {
  const issuers = [...new Set(signIns.map(({ issuer }) => issuer))];
  return new MeshpassError(
    'sign_in_required',
    `Your grants (${signIns.map(({ grant }) => grant).join(', ')}) require a sign-in at ${issuers.join(' or ')}. Run meshpass sign-in --issuer ${issuers[0]}, or meshpass up --sign-in ${issuers[0]} if no agent is running.`,
    { detail: { reason: refusals.join('; ') }, members: { sign_in: issuers } },
  );
}
