/**
 * Adds, confirms and ends the sign-ins of live sessions. A sign-in is confirmed by a newer ID token. After each change,
 * the session's access is decided again. A sign-in that has lapsed stays with its session, and becomes valid again if
 * it is confirmed late. A sign-in is removed when the user signs out of it.
 */
import { isSignInTrusted } from '@meshpass/access';
import { type Attestation, type EndedSignIn, MeshpassError, type SignIn, sha256Hex } from '@meshpass/identity';
import { MAX_SIGN_INS, type SignInRequest } from '@meshpass/identity/sign-in';
import { type AuditEvent, type AuditRow, annotateEvent, type Origin } from '../../audit/index.ts';
import { runExclusive, toUnixSeconds } from '../../base/index.ts';
import { unknownIssuerError } from '../../issuers/index.ts';
import type { CloseCause } from '../../store/index.ts';
import type { SessionContext } from '../session/context.ts';
import { closeSession, endedRow, replaceAttestation, workspaceKey } from '../session/lifecycle.ts';
import { type Live, sessionClosedError } from '../session/live.ts';
import { serializeSignIns } from '../session/rows.ts';
import { touch } from '../session/touch.ts';
import { addEntitledGrants } from '../session/widen.ts';
import type { Write } from '../session/write-queue.ts';
import { SET_SIGN_INS } from '../session-sql.ts';
import { type Logout, logoutMatchesSignIn } from './recent-logouts.ts';

/** The reasons why a sign-in can end. */
export type SignInEnd = Extract<CloseCause, 'signed_out' | 'sign_in_lapsed'>;

const ENDED_BECAUSE: Readonly<Record<SignInEnd, string>> = {
  signed_out: 'The sign-in has ended: signed out.',
  sign_in_lapsed: 'The sign-in has ended: it was not confirmed in time.',
};

/**
 * Adds a sign-in to a session, or confirms an existing one.
 * @throws MeshpassError `sign_in_ended`, `session_closed`, `proof_replayed`, `store_unavailable`, and the errors of
 *   SignInVerifier
 */
export async function addSignIn(
  context: SessionContext,
  live: Live,
  request: SignInRequest,
  event: AuditEvent,
): Promise<void> {
  const { issuer } = request;
  annotateEvent(event, { target: issuer, proofHash: sha256Hex(request.id_token) });
  try {
    await runExclusive(context.signInTurns, live.session.id, () => add(context, live, request, event));
  } catch (thrown) {
    context.metrics.signIn(knownIssuer(context, issuer), 'refused');
    throw thrown;
  }
}

async function add(context: SessionContext, live: Live, { issuer, id_token }: SignInRequest, event: AuditEvent) {
  if (!context.attestSignIn) throw unknownIssuerError(issuer);
  const { jkt, id, attestation } = live.session;
  // A sign-in that the current access file no longer trusts cannot be confirmed. It is replaced by the new sign-in.
  const before = (attestation.signIns ?? []).filter((one) => isCurrent(context, one));
  const previous = before.find((one) => one.issuer === issuer);
  if (!previous && before.length >= MAX_SIGN_INS)
    throw new MeshpassError('sign_in_rejected', `A session can have at most ${MAX_SIGN_INS} sign-ins.`);
  const { signIn, replay } = await context.attestSignIn(issuer, id_token, { jkt, previous });
  annotateEvent(event, {
    reason: `Signed in at ${issuer} as ${signIn.subject}.`,
    detail: { sign_in: { subject: signIn.subject, login: signIn.login, auth_time: signIn.authTime, amr: signIn.amr } },
  });
  requireNotEnded(context, live, signIn);
  await context.writes.inTurn(workspaceKey(live), async (store) => {
    const { attestation: current } = live.session;
    const row = { id, sign_ins: serializeSignIns({ ...current, signIns: withSignIn(current.signIns ?? [], signIn) }) };
    const adding: Write = {
      changes: (tx) => {
        tx.once(replay);
        tx.write(SET_SIGN_INS, row);
      },
      written: () => {
        // The user may have signed out while the sign-in was being written. The next write or the next broker process
        // then removes the stored sign-in.
        if (isSignedOut(context, live, signIn)) return;
        replaceAttestation(live, {
          ...live.session.attestation,
          signIns: withSignIn(live.session.attestation.signIns ?? [], signIn),
        });
        live.lapsedSignIns?.delete(issuer);
      },
    };
    // Like a lease renewal, a confirmation does not change any decision, so it is not written to the audit log.
    await store(adding, previous ? undefined : event);
  });
  if (!live.ended && isSignedOut(context, live, signIn)) await storeSignIns(context, live, []);
  requireNotEnded(context, live, signIn);
  context.metrics.signIn(issuer, previous ? 'confirmed' : 'added');
  if (context.mesh.inForce()) {
    await touch(context, live);
    await addEntitledGrants(context, live, 'signed_in');
  }
}

/**
 * Removes a sign-in and the grants that require it. The change takes effect in memory immediately.
 * @param reported the logout that the issuer reported. If present, only sign-ins that took place after it are accepted.
 * @returns a promise that resolves once the change has been stored, or immediately if the session has no such sign-in
 */
export async function endSignIn(
  context: SessionContext,
  live: Live,
  issuer: string,
  origin: Origin = {},
  reported?: Logout,
): Promise<void> {
  const { attestation } = live.session;
  const ended = attestation.signIns?.find((one) => one.issuer === issuer);
  if (!ended || live.ended) return;
  replaceAttestation(live, {
    ...attestation,
    signIns: attestation.signIns!.filter((one) => one !== ended),
    ...(reported && { endedSignIns: addEndedSignIn(attestation, ended, reported) }),
  });
  live.lapsedSignIns?.delete(issuer);
  await settle(context, live, ended, 'signed_out', origin);
}

/** Ends sign-ins that were not confirmed in time. */
export function sweepSignIns(context: SessionContext): void {
  const now = toUnixSeconds(context.clock);
  for (const live of context.live.all()) {
    for (const signIn of live.session.attestation.signIns ?? []) {
      if (signIn.until > now || live.lapsedSignIns?.has(signIn.issuer)) continue;
      live.lapsedSignIns = new Set([...(live.lapsedSignIns ?? []), signIn.issuer]);
      settle(context, live, signIn, 'sign_in_lapsed', {}).catch(context.onFailure);
    }
  }
}

/**
 * Ends all sign-ins that are affected by a logout at the issuer.
 * @returns the number of affected sessions
 */
export async function signOutEverywhere(context: SessionContext, out: Logout, origin: Origin): Promise<number> {
  context.recentLogouts.remember(out);
  const concerned = [...context.live.all()].filter((live) =>
    live.session.attestation.signIns?.some((signIn) => logoutMatchesSignIn(out, signIn)),
  );
  await Promise.all(concerned.map((live) => endSignIn(context, live, out.issuer, origin, out)));
  return concerned.length;
}

/** Ends the sign-ins of a newly opened or restored session if they are affected by a recent logout. */
export function endLoggedOutSignIns(context: SessionContext, live: Live): void {
  for (const signIn of live.session.attestation.signIns ?? []) {
    const out = context.recentLogouts.find(signIn);
    if (out) endSignIn(context, live, signIn.issuer, {}, out).catch(context.onFailure);
  }
}

/** Removes the access that depends on a sign-in that has lapsed or ended. */
async function settle(context: SessionContext, live: Live, signIn: SignIn, cause: SignInEnd, origin: Origin) {
  const { issuer, subject } = signIn;
  const { attestation } = live.session;
  context.metrics.signIn(issuer, cause === 'signed_out' ? 'signed_out' : 'lapsed');
  const members = { target: issuer, detail: { cause, sign_in: { subject } } };
  const row = endedRow(context, 'sign_in.end', live.session, origin, members, ENDED_BECAUSE[cause]);
  const stored = storeSignIns(context, live, [row]);
  // A session that was opened with this sign-in has no other proof, so the session ends as well.
  if (attestation.provenBySignIn && attestation.issuer === issuer) await closeSession(context, live, { cause });
  else await touch(context, live, cause);
  await stored;
}

function storeSignIns(context: SessionContext, live: Live, audit: readonly AuditRow[]): Promise<void> {
  return context.writes.cut(workspaceKey(live), (tx) => {
    const { id, attestation } = live.session;
    tx.write(SET_SIGN_INS, { id, sign_ins: serializeSignIns(attestation) });
    tx.audit(...audit);
  });
}

/** Whether the current access file trusts the sign-in. Assumed to be true if no access file is in effect. */
function isCurrent({ mesh }: Pick<SessionContext, 'mesh'>, signIn: SignIn): boolean {
  return !mesh.inForce() || isSignInTrusted(signIn, mesh.access().trust);
}

function withSignIn(signIns: readonly SignIn[], signIn: SignIn): readonly SignIn[] {
  return [...signIns.filter(({ issuer }) => issuer !== signIn.issuer), signIn];
}

function requireNotEnded(context: SessionContext, live: Live, signIn: SignIn): void {
  if (live.ended) throw sessionClosedError(live.ended.cause);
  if (isSignedOut(context, live, signIn))
    throw new MeshpassError('sign_in_ended', `You have signed out at ${signIn.issuer}; sign in again.`);
}

function isSignedOut({ recentLogouts }: SessionContext, { session }: Live, signIn: SignIn): boolean {
  return recentLogouts.find(signIn) !== undefined || isSignInEnded(session.attestation, signIn);
}

function knownIssuer({ mesh }: SessionContext, issuer: string): string {
  const known = mesh.inForce() && mesh.access().trust.issuers.some(({ name }) => name === issuer);
  return known ? issuer : 'unknown';
}

// Sign-ins that the provider has ended are remembered, so that tokens from the same authentication cannot restore them.

/** The maximum number of ended sign-ins to remember per issuer. */
const MOST_KEPT = 20;

type Ended = Pick<Attestation, 'endedSignIns'>;

/**
 * Adds a sign-in that its issuer has ended to the list, which has one entry for each user and session at the issuer.
 */
export function addEndedSignIn(
  { endedSignIns = [] }: Ended,
  { issuer, subject, sid }: Pick<SignIn, 'issuer' | 'subject' | 'sid'>,
  { at }: Pick<Logout, 'at'>,
): readonly EndedSignIn[] {
  const isSame = (one: EndedSignIn) => one.issuer === issuer && one.subject === subject && one.sid === sid;
  const signedOutAt = Math.max(at, endedSignIns.find(isSame)?.signedOutAt ?? 0);
  const ended = { issuer, subject, ...(sid !== undefined && { sid }), signedOutAt };
  const ofIssuer = endedSignIns.filter((one) => one.issuer === issuer && !isSame(one));
  return [...endedSignIns.filter((one) => one.issuer !== issuer), ...ofIssuer.slice(1 - MOST_KEPT), ended];
}

/** Whether a sign-in may be based on an authentication that has ended. */
export function isSignInEnded({ endedSignIns = [] }: Ended, signIn: SignIn): boolean {
  return endedSignIns.some((ended) => ended.issuer === signIn.issuer && isOfEnded(signIn, ended));
}

/**
 * Whether a sign-in may be based on the same authentication as one that has ended. Providers do not revoke refresh
 * tokens at logout (OpenID Connect Back-Channel Logout 1.0 section 2.7), so a fresh ID token does not prove a new
 * sign-in. A new sign-in has a different session at the provider, and an authentication time after the logout. A token
 * without either claim cannot prove that the sign-in is new.
 */
function isOfEnded({ subject, sid, authTime }: SignIn, ended: EndedSignIn): boolean {
  if (subject !== ended.subject) return false;
  if (sid !== undefined && sid === ended.sid) return true;
  const isOther = sid !== undefined && ended.sid !== undefined;
  if (authTime === undefined) return !isOther;
  // A new session may have started in the same second in which the previous one ended.
  return isOther ? authTime < ended.signedOutAt : authTime <= ended.signedOutAt;
}
