/** Decides which grants an attestation gets, and why. The decision is a pure function that denies by default. */
import type { Attestation, SignIn } from '@meshpass/identity';
import type { Access, Approval, Approved, Authorize, Decision, Grant, SignedIn, Trust, Who } from '../model.ts';
import { formatPlace } from '../problem.ts';
import { withinBudget } from '../schema/work.ts';
import { describeApproval, describeWho } from './describe-who.ts';
import { mayBeRequester } from './operators.ts';
import { checkClientTrust, checkWorkspaceTrust, isSignInTrusted } from './trusted.ts';
import { asSignedIn, type Kind, whyAnyDenied, whyClaimsMismatch, whyConditionUnmet, whyEntryMismatch } from './who.ts';
import { openUntil } from './windows.ts';

/**
 * Authorizes an attestation. A grant matches if all fields of one of its `who` entries match, no denial applies, and
 * one of its time windows is open.
 *
 * GitHub Actions is a special case. Anyone on GitHub can get a token from that issuer, and can make their own workflow
 * run as another user (an issue comment is enough). An attestation from GitHub Actions therefore only matches entries
 * that name a repository, or that name the issuer and restrict its workflows with `when` or `claims`. `user`, `team`
 * and `role` only match it in combination with an issuer and a repository.
 * @param at the current time, in Unix seconds. If absent, no time window is open and no sign-in counts
 * @example
 * ```ts
 * import { authorize, parseAccess } from '@meshpass/access';
 * import type { Attestation } from '@meshpass/identity';
 * const access = parseAccess(`
 * trust: {codespaces: {organization: acme}}
 * grants:
 *   dev: {who: [{user: alice}], to: [{service: orders.shop, port: 80}]}`, 'access.yaml');
 * const alice: Attestation = {
 *   attestor: 'github-codespace', issuer: 'github', subject: 'github:1', login: 'alice', claims: {}, teams: [],
 *   githubUser: { id: 1, login: 'alice' },
 *   workspace: { kind: 'codespace', key: 'codespace:1', name: 'space' },
 *   proofHash: 'a'.repeat(64),
 * };
 * authorize(alice, access).grants.map(({ grant }) => grant.name); // => ['dev']
 * authorize({ ...alice, githubUser: { id: 2, login: 'bob' } }, access).grants; // => []
 * ```
 */
export const authorize: Authorize = withinBudget((attestation, access, at, approved) => {
  const trusted = checkWorkspaceTrust(attestation, access.trust);
  if ('untrusted' in trusted)
    return nothing(access, `issuer ${attestation.issuer} is not trusted by the access file: ${trusted.untrusted}`);
  const { kind } = trusted;
  const denied = whyAnyDenied(access.deny, attestation, kind);
  if (denied) return nothing(access, denied);
  const grants: { grant: Grant; reason: string; until?: number }[] = [];
  const requestable: { grant: Grant; approval: Approval; reason: string }[] = [];
  const refusals: string[] = [];
  const signIns: { grant: string; issuer: string }[] = [];
  for (const grant of access.grants) {
    const found = withApproval(grant, decide(grant, attestation, access.trust, kind, at), at, approved);
    if (!('refusal' in found)) {
      grants.push({ grant, ...found });
      continue;
    }
    refusals.push(`grant ${grant.name}: ${found.refusal}`);
    if ('approval' in found) requestable.push({ grant, approval: found.approval, reason: found.reason });
    else if (found.signIn !== undefined) signIns.push({ grant: grant.name, issuer: found.signIn });
  }
  return { grants, requestable, refusals, ...(signIns.length > 0 && { signIns }) };
});

/** The outcome for one grant. If only a sign-in is missing, `signIn` contains the issuer name. */
type Found =
  | { readonly reason: string; readonly until?: number }
  | { readonly refusal: string; readonly signIn?: string };

function decide(grant: Grant, attestation: Attestation, trust: Trust, kind: Kind, at: number | undefined): Found {
  const held = whoHolds(grant.who, attestation, trust, kind, at);
  const signIn = 'refusal' in held ? held.signIn : undefined;
  if ('refusal' in held && signIn === undefined) return held;
  const denied = whyAnyDenied(grant.except, attestation, kind);
  if (denied) return { refusal: denied };
  const closes = grant.during && (at === undefined ? undefined : openUntil(grant.during, at));
  if (grant.during && closes === undefined)
    return { refusal: `${formatPlace(grant.during[0]!.place)} the grant is not open at this time` };
  if ('refusal' in held) return held;
  const until = Math.min(closes ?? Number.POSITIVE_INFINITY, held.until ?? Number.POSITIVE_INFINITY);
  return { reason: held.reason, ...(grant.during || Number.isFinite(until) ? { until } : {}) };
}

/** Returns the matching alternative that stays valid the longest. If several do, the first of them wins. */
function whoHolds(
  alternatives: readonly Who[],
  attestation: Attestation,
  trust: Trust,
  kind: Kind,
  at: number | undefined,
): Found {
  const failures: string[] = [];
  let best: { reason: string; until: number } | undefined;
  let signIn: string | undefined;
  for (const who of alternatives) {
    const place = formatPlace(who.place);
    const failure = whyEntryMismatch(who, attestation, kind);
    const signed = failure === undefined ? holdsSignIn(who, attestation, trust, at) : { failure };
    if ('failure' in signed) {
      failures.push(`${place} ${signed.failure}`);
      if (failure === undefined) signIn ??= who.signedIn?.issuer;
    } else if (!best || signed.until > best.until)
      best = { reason: `${place} ${describeWho(who)}`, until: signed.until };
  }
  if (!best)
    return { refusal: failures.join('; ') || 'the grant has no entries', ...(signIn !== undefined && { signIn }) };
  return { reason: best.reason, ...(Number.isFinite(best.until) && { until: best.until }) };
}

/** Checks the approval of a grant, if the grant requires one. */
function withApproval(
  { name, approval }: Grant,
  found: Found,
  at: number | undefined,
  approved: Approved | undefined,
): Found | { readonly refusal: string; readonly approval: Approval; readonly reason: string } {
  if (!approval || 'refusal' in found) return found;
  const until = approved?.get(name);
  if (until === undefined || at === undefined || until <= at) {
    const refusal = `${formatPlace(approval.place)} it requires ${describeApproval(approval)}`;
    return { refusal, approval, reason: found.reason };
  }
  return { reason: `${found.reason}, approved`, until: Math.min(until, found.until ?? until) };
}

function nothing(access: Access, why: string): Decision {
  return { grants: [], requestable: [], refusals: access.grants.map(({ name }) => `grant ${name}: ${why}`) };
}

/**
 * Finds the first entry of `by` that allows a person to approve. Jobs and other workloads cannot approve anything,
 * because they run on behalf of whichever user triggered them.
 * @param at the current time, in Unix seconds. If absent, no sign-in counts
 * @returns the place and description of the entry, or undefined if no entry matches
 * @example
 * ```ts
 * import { approverEntry, parseAccess } from '@meshpass/access';
 * import type { Attestation } from '@meshpass/identity';
 * const access = parseAccess(`
 * trust: {codespaces: {organization: acme}}
 * grants:
 *   dev: {who: [{user: alice}], to: [{service: orders.shop, port: 80}], approval: {by: {team: acme/leads}}}`, 'access.yaml');
 * const lead: Attestation = {
 *   attestor: 'github-codespace', issuer: 'github', subject: 'github:2', login: 'bob', claims: {}, teams: ['acme/leads'],
 *   githubUser: { id: 2, login: 'bob' },
 *   workspace: { kind: 'codespace', key: 'codespace:2', name: 'space' },
 *   proofHash: 'a'.repeat(64),
 * };
 * const { approval } = access.grants[0]!;
 * approverEntry(approval!, lead, access); // => 'access.yaml:4:86 team acme/leads'
 * approverEntry(approval!, { ...lead, teams: [] }, access); // => undefined
 * ```
 */
export const approverEntry = withinBudget(findApproverEntry);

function findApproverEntry(
  approval: Pick<Approval, 'by'>,
  attestation: Attestation,
  access: Access,
  at?: number,
): string | undefined {
  const trusted = checkClientTrust(attestation, access.trust);
  if ('untrusted' in trusted || !isPerson(attestation, access, at)) return undefined;
  const { kind } = trusted;
  if (whyAnyDenied(access.deny, attestation, kind) !== undefined) return undefined;
  // The parser rejects files that list such approvers, but a reviewer may come from an earlier version of the file.
  if (mayBeRequester(attestation, access)) return undefined;
  const match = approval.by.find(
    (who) =>
      whyEntryMismatch(who, attestation, kind) === undefined &&
      'until' in holdsSignIn(who, attestation, access.trust, at),
  );
  return match && `${formatPlace(match.place)} ${describeWho(match)}`;
}

/**
 * Whether an attestation belongs to a person. This is the case for Codespaces, for issuers at which people sign in
 * (`signIn`), and for sessions with a sign-in. Tokens of CI systems and other workloads do not belong to a person: they
 * identify a branch or a job, and merely contain the name of the user who triggered it.
 * @param at the current time, in Unix seconds. Expired sign-ins do not count. If absent, no sign-in counts
 * @example
 * ```ts
 * import { isPerson, parseAccess } from '@meshpass/access';
 * import type { Attestation } from '@meshpass/identity';
 * const access = parseAccess(`
 * trust: {issuers: {gitlab: {issuer: https://gitlab.com, audience: meshpass}}}
 * grants: {}`, 'access.yaml');
 * const job: Attestation = {
 *   attestor: 'oidc', issuer: 'gitlab', subject: 'gitlab:1', login: 'alice', claims: { iss: 'https://gitlab.com', aud: 'meshpass' }, teams: [],
 *   workspace: { kind: 'other', key: 'gitlab:1', name: 'job' },
 *   proofHash: 'a'.repeat(64),
 * };
 * isPerson(job, access, 1_700_000_000); // => false
 * ```
 */
export function isPerson(attestation: Attestation, access: Access, at: number | undefined): boolean {
  const trusted = checkClientTrust(attestation, access.trust);
  if ('untrusted' in trusted) return false;
  if (trusted.kind !== 'generic') return trusted.kind === 'codespace';
  const issuer = access.trust.issuers.find(({ name }) => name === attestation.issuer);
  return (
    issuer?.signIn !== undefined ||
    (attestation.signIns ?? []).some((one) => at !== undefined && one.until > at && isSignInTrusted(one, access.trust))
  );
}

// Checks for the sign-ins that entries require in addition to their other fields.

/**
 * Checks whether a session has the sign-in that an entry requires.
 * @param at the current time, in Unix seconds. If absent, no sign-in counts
 * @returns the time until which the sign-in counts, in Unix seconds and possibly infinite, or the reason why it does
 *   not count
 */
function holdsSignIn(
  { signedIn }: Who,
  attestation: Attestation,
  trust: Trust,
  at: number | undefined,
): { readonly until: number } | { readonly failure: string } {
  if (!signedIn) return { until: Number.POSITIVE_INFINITY };
  const { issuer, maxAge, amr } = signedIn;
  const signIn = at === undefined ? undefined : attestation.signIns?.find((one) => one.issuer === issuer);
  if (!signIn || at === undefined) return { failure: `not signed in at ${issuer}` };
  if (!isSignInTrusted(signIn, trust))
    return { failure: `the sign-in belongs to a different issuer or client than ${issuer} in the access file` };
  if (signIn.until <= at) return { failure: `the sign-in at ${issuer} was not confirmed in time` };
  const old = maxAge === undefined ? undefined : whyTooOld(signIn, maxAge, at);
  const lacking = amr?.find((method) => !signIn.amr.includes(method));
  const failure =
    old ??
    (lacking === undefined ? undefined : `the sign-in at ${issuer} did not use ${lacking} (amr)`) ??
    whyNotAsDemanded(signedIn, signIn, attestation);
  if (failure !== undefined) return { failure };
  return { until: maxAge === undefined ? Number.POSITIVE_INFINITY : signIn.authTime! + maxAge };
}

function whyTooOld({ issuer, authTime }: SignIn, maxAge: number, at: number): string | undefined {
  if (authTime === undefined) return `the ID token from ${issuer} is missing the authentication time (auth_time)`;
  return authTime + maxAge <= at ? `the sign-in at ${issuer} is older than ${maxAge} seconds` : undefined;
}

function whyNotAsDemanded(demanded: SignedIn, signIn: SignIn, attestation: Attestation): string | undefined {
  const why = whyClaimsMismatch(demanded, signIn) ?? whyConditionUnmet(demanded, asSignedIn(attestation, signIn));
  return why === undefined ? undefined : `sign-in at ${signIn.issuer}: ${why}`;
}
