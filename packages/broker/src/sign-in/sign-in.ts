/**
 * Sign-ins of a live session: one is added, confirmed by a newer ID token, or over. What rests on it follows at once: the session's access
 * is decided again. A sign-in whose time has passed stays with its session, and counts again when an ID token confirms it after all; one
 * that was signed out is gone.
 */
import { MeshpassError, type SignIn } from '@meshpass/identity';
import { sha256Hex } from '@meshpass/identity/hash';
import { MAX_SIGN_INS, type SignInRequest } from '@meshpass/identity/sign-in/wire';
import type { AttestSignIn } from '../attest/attest.ts';
import { unknownIssuer } from '../attest/oidc/sign-in.ts';
import { granted, type Outcome, recordGrant, refused } from '../audit/log/decision.ts';
import { type AuditEvent, auditRow, newEvent, type Origin } from '../audit/log/event.ts';
import { seconds } from '../clock/clock.ts';
import { type KeyedMutex, runExclusive } from '../limits/keyed-mutex.ts';
import { closeSession, replaceAttestation, sessionMembers, untilStored } from '../session/lifecycle.ts';
import { type Live, sessionClosed } from '../session/live.ts';
import { recheckSession } from '../session/recheck.ts';
import { signInsText } from '../session/rows.ts';
import { gainWhatIsGiven, type WidenContext } from '../session/widen.ts';
import type { CloseCause } from '../store/close-causes.ts';
import { isEnded, withEnded } from './ended-sign-ins.ts';
import { isMeant, type Logout, type RecentLogouts } from './recent-logouts.ts';
import type { TakenLogouts } from './taken-logouts.ts';

export interface SignInContext extends WidenContext {
  readonly attestSignIn: AttestSignIn | undefined;
  /** One change of a session's sign-ins at a time. */
  readonly mutex: KeyedMutex;
  readonly recentLogouts: RecentLogouts;
  readonly takenLogouts: TakenLogouts;
  readonly onSignIn: (issuer: string, outcome: SignInOutcome) => void;
}

/** For metrics. */
export type SignInOutcome = 'added' | 'confirmed' | 'refused' | 'signed_out' | 'lapsed';

export type SignInEnd = Extract<CloseCause, 'signed_out' | 'sign_in_lapsed'>;

const ENDED_BECAUSE: Readonly<Record<SignInEnd, string>> = {
  signed_out: 'The sign-in is over: signed out.',
  sign_in_lapsed: 'The sign-in is over: it was not confirmed in time.',
};

/**
 * Adds a sign-in to a session, or confirms it.
 * @returns refused with what AttestSignIn throws, `sign_in_ended`, `session_closed`, `proof_replayed`, `store_unavailable`
 */
export async function addSignIn(
  context: SignInContext,
  live: Live,
  { issuer, id_token: token }: SignInRequest,
  event: AuditEvent,
): Promise<Outcome<void>> {
  const known = { ...event, target: issuer, proofHash: sha256Hex(token) };
  const outcome = await runExclusive(context.mutex, live.session.id, async () => {
    try {
      return await add(context, live, issuer, token, known);
    } catch (thrown) {
      return refused(known, thrown);
    }
  });
  if (!outcome.granted) context.onSignIn(knownIssuer(context, issuer), 'refused');
  return outcome;
}

async function add(
  context: SignInContext,
  live: Live,
  issuer: string,
  token: string,
  event: AuditEvent,
): Promise<Outcome<void>> {
  if (!context.attestSignIn) throw unknownIssuer(issuer);
  const { jkt, id, attestation } = live.session;
  const before = attestation.signIns ?? [];
  const previous = before.find((one) => one.issuer === issuer);
  if (!previous && before.length >= MAX_SIGN_INS)
    throw new MeshpassError('sign_in_rejected', `A session can have at most ${MAX_SIGN_INS} sign-ins.`);
  const { signIn, replay } = await context.attestSignIn(issuer, token, { jkt, previous });
  const known = {
    ...event,
    reason: `Signed in at ${issuer} as ${signIn.subject}.`,
    detail: { sign_in: { subject: signIn.subject, login: signIn.login, auth_time: signIn.authTime, amr: signIn.amr } },
  };
  const refusal = live.ended ? sessionClosed(live.ended.cause) : whyEnded(context, live, signIn);
  if (refusal) return refused(known, refusal);
  // Others of the session may have ended while this one was looked at.
  const { attestation: current } = live.session;
  const signIns = { id, sign_ins: signInsText({ ...current, signIns: withSignIn(current.signIns ?? [], signIn) }) };
  const { signInWrites } = live;
  if (previous) {
    // A confirmation changes nothing that was decided: it leaves no row, as a renewed lease does.
    await context.journal.write({ replay, signIns, audit: [] });
  } else {
    const written = await recordGrant(context.audit, known, { replay, signIns });
    if (!written.granted) return written;
  }
  // It may have ended, or been signed out, while the store was writing.
  const late = live.ended ? sessionClosed(live.ended.cause) : whyEnded(context, live, signIn);
  if (late) {
    if (!live.ended) await storeSignIns(context, live, []);
    return refused(known, late);
  }
  replaceAttestation(live, {
    ...live.session.attestation,
    signIns: withSignIn(live.session.attestation.signIns ?? [], signIn),
  });
  live.lapsedSignIns?.delete(issuer);
  // What was written meanwhile, for another that has ended, was without this one.
  if (live.signInWrites !== signInWrites) await storeSignIns(context, live, []);
  context.onSignIn(issuer, previous ? 'confirmed' : 'added');
  if (context.mesh.inForce()) {
    await recheckSession(context, live);
    await gainWhatIsGiven(context, live, 'signed_in');
  }
  return granted(known, undefined);
}

/**
 * Takes a sign-in from a session: at once in memory, with the grants that rest on it.
 * @param reported what the issuer said of it: only a sign-in of later than that comes back
 * @returns once the store has it; at once where there is no such sign-in
 */
export async function endSignIn(
  context: SignInContext,
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
    ...(reported && { endedSignIns: withEnded(attestation, ended, reported) }),
  });
  live.lapsedSignIns?.delete(issuer);
  await settle(context, live, ended, 'signed_out', origin);
}

/** Ends sign-ins whose time has passed: their issuer, or their agent, has not confirmed them. */
export function sweepSignIns(context: SignInContext): void {
  const now = seconds(context.clock);
  for (const live of context.live.all()) {
    for (const signIn of live.session.attestation.signIns ?? []) {
      if (signIn.until > now || live.lapsedSignIns?.has(signIn.issuer)) continue;
      live.lapsedSignIns = new Set([...(live.lapsedSignIns ?? []), signIn.issuer]);
      settle(context, live, signIn, 'sign_in_lapsed', {}).catch(context.onFailure);
    }
  }
}

/** An issuer says that somebody has signed out there. @returns how many sessions that concerns */
export async function signOutEverywhere(context: SignInContext, out: Logout, origin: Origin): Promise<number> {
  context.recentLogouts.remember(out);
  const concerned = [...context.live.all()].filter((live) =>
    live.session.attestation.signIns?.some((signIn) => isMeant(out, signIn)),
  );
  await Promise.all(concerned.map((live) => endSignIn(context, live, out.issuer, origin, out)));
  return concerned.length;
}

/** Takes the sign-ins of a session that has just opened which were signed out meanwhile. */
export function endSignedOut(context: SignInContext, live: Live): void {
  for (const signIn of live.session.attestation.signIns ?? []) {
    const out = context.recentLogouts.find(signIn);
    if (out) endSignIn(context, live, signIn.issuer, {}, out).catch(context.onFailure);
  }
}

/** What no longer counts takes with it what rests on it. */
async function settle(context: SignInContext, live: Live, signIn: SignIn, cause: SignInEnd, origin: Origin) {
  const { issuer, subject } = signIn;
  const { attestation } = live.session;
  context.onSignIn(issuer, cause === 'signed_out' ? 'signed_out' : 'lapsed');
  const event = {
    ...newEvent('sign_in.end', origin, context.clock, context.random),
    ...sessionMembers(live.session),
    target: issuer,
    detail: { cause, sign_in: { subject } },
  };
  const row = auditRow(event, 'ended', ENDED_BECAUSE[cause], undefined, context.clock());
  const stored = storeSignIns(context, live, [row]);
  // A session that was opened by it has nothing else to stand on.
  if (attestation.provenBySignIn && attestation.issuer === issuer) await closeSession(context, live, { cause });
  // Without an access file in force nothing is decided; it is when one comes.
  else if (context.mesh.inForce()) await recheckSession(context, live, cause);
  await stored;
}

function storeSignIns(context: SignInContext, live: Live, audit: ReturnType<typeof auditRow>[]): Promise<void> {
  return untilStored(context, () => {
    const { id, attestation } = live.session;
    live.signInWrites = (live.signInWrites ?? 0) + 1;
    return { signIns: { id, sign_ins: signInsText(attestation) }, audit };
  });
}

function withSignIn(signIns: readonly SignIn[], signIn: SignIn): readonly SignIn[] {
  return [...signIns.filter(({ issuer }) => issuer !== signIn.issuer), signIn];
}

function whyEnded({ recentLogouts }: SignInContext, { session }: Live, signIn: SignIn): MeshpassError | undefined {
  return recentLogouts.find(signIn) || isEnded(session.attestation, signIn)
    ? new MeshpassError('sign_in_ended', `You have signed out at ${signIn.issuer}; sign in again.`)
    : undefined;
}

function knownIssuer({ mesh }: SignInContext, issuer: string): string {
  const known = mesh.inForce() && mesh.access().trust.issuers.some(({ name }) => name === issuer);
  return known ? issuer : 'unknown';
}
