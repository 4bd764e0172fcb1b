/** The decision: which grants an attestation has, and why. Default deny; nothing is looked up, nothing is remembered. */
import type { Attestation } from '@meshpass/identity';
import type { Access, Approval, Approved, Decision, Denial, Grant, Who } from '../model.ts';
import { formatPlace } from '../problem.ts';
import { describeApproval } from './describe-approval.ts';
import { describeWho } from './describe-who.ts';
import { isHidden } from './operators.ts';
import { holdsSignIn } from './signed-in.ts';
import { type Kind, whyDenied, whyNot } from './who.ts';
import { openUntil } from './windows.ts';

/**
 * Decides. One alternative of a grant's `who` must hold with all of its members, no deny list may name the holder, and
 * one of its time windows must be open.
 *
 * GitHub Actions is special: everyone on GitHub may obtain a token of that issuer, and may have a workflow of their own
 * run as somebody else (an issue comment is enough). So such an attestation matches only entries that name a
 * repository, or that name the issuer and say of whom in `when` or `claims`; and `user`, `team` and `role` hold for it
 * only beside issuer and repository.
 * @param at Unix seconds; without it no time window is open, and no sign-in counts
 * @example
 * ```ts
 * import { authorize, parseAccess } from '@meshpass/access';
 * import type { Attestation } from '@meshpass/identity';
 * const access = parseAccess(`
 * trust: {codespaces: {organization: acme}}
 * grants:
 *   dev: {who: [{user: alice}], to: [{service: orders.shop, port: 80}]}`, 'access.yaml');
 * const alice: Attestation = {
 *   ...{ attestor: 'github-codespace', issuer: 'github', subject: 'github:1', login: 'alice', claims: {}, teams: [] },
 *   githubUser: { id: 1, login: 'alice' },
 *   workspace: { kind: 'codespace', key: 'codespace:1', name: 'space' },
 *   proofHash: 'a'.repeat(64),
 * };
 * authorize(alice, access).grants.map(({ grant }) => grant.name); // => ['dev']
 * authorize({ ...alice, githubUser: { id: 2, login: 'bob' } }, access).grants; // => []
 * ```
 */
export function authorize(attestation: Attestation, access: Access, at?: number, approved?: Approved): Decision {
  const kind = trustedKind(attestation, access);
  if (!kind) return nothing(access, `issuer ${attestation.issuer} is not trusted by the access file`);
  const denied = denial(access.deny, attestation, kind);
  if (denied) return nothing(access, denied);
  const grants: { grant: Grant; reason: string; until?: number }[] = [];
  const requestable: { grant: Grant; approval: Approval; reason: string }[] = [];
  const refusals: string[] = [];
  const signIns: { grant: string; issuer: string }[] = [];
  for (const grant of access.grants) {
    const found = decide(grant, attestation, kind, at);
    const lacking = 'refusal' in found ? undefined : withApproval(grant, found, at, approved);
    if ('refusal' in found) {
      refusals.push(`grant ${grant.name}: ${found.refusal}`);
      if (found.signIn !== undefined) signIns.push({ grant: grant.name, issuer: found.signIn });
    } else if (lacking === undefined || !('approval' in lacking)) grants.push({ grant, ...(lacking ?? found) });
    else {
      requestable.push({ grant, approval: lacking.approval, reason: found.reason });
      refusals.push(`grant ${grant.name}: ${needsApproval(lacking.approval)}`);
    }
  }
  return { grants, requestable, refusals, ...(signIns.length > 0 && { signIns }) };
}

/** `signIn`: the issuer of the sign-in that alone is lacking. */
type Found =
  | { readonly reason: string; readonly until?: number }
  | { readonly refusal: string; readonly signIn?: string };

function decide(grant: Grant, attestation: Attestation, kind: Kind, at: number | undefined): Found {
  const held = whoHolds(grant.who, attestation, kind, at);
  const signIn = 'refusal' in held ? held.signIn : undefined;
  if ('refusal' in held && signIn === undefined) return held;
  const denied = denial(grant.except, attestation, kind);
  if (denied) return { refusal: denied };
  const closes = grant.during && (at === undefined ? undefined : openUntil(grant.during, at));
  if (grant.during && closes === undefined)
    return { refusal: `${formatPlace(grant.during[0]!.place)} it is not open at this time` };
  if ('refusal' in held) return held;
  const until = Math.min(closes ?? Number.POSITIVE_INFINITY, held.until ?? Number.POSITIVE_INFINITY);
  return { reason: held.reason, ...(grant.during || Number.isFinite(until) ? { until } : {}) };
}

/** The alternative that holds longest; of equal ones the first. */
function whoHolds(alternatives: readonly Who[], attestation: Attestation, kind: Kind, at: number | undefined): Found {
  const failures: string[] = [];
  let best: { reason: string; until: number } | undefined;
  let signIn: string | undefined;
  for (const who of alternatives) {
    const place = formatPlace(who.place);
    const failure = whyNot(who, attestation, kind);
    const signed = failure === undefined ? holdsSignIn(who, attestation, at) : { failure };
    if ('failure' in signed) {
      failures.push(`${place} ${signed.failure}`);
      if (failure === undefined) signIn ??= who.signedIn?.issuer;
    } else if (!best || signed.until > best.until)
      best = { reason: `${place} ${describeWho(who)}`, until: signed.until };
  }
  if (!best) return { refusal: failures.join('; ') || 'nobody is named', ...(signIn !== undefined && { signIn }) };
  return { reason: best.reason, ...(Number.isFinite(best.until) && { until: best.until }) };
}

/** @returns what is granted until when, where it is approved; the approval that it lacks; undefined where it needs none */
function withApproval(
  grant: Grant,
  found: { readonly reason: string; readonly until?: number },
  at: number | undefined,
  approved: Approved | undefined,
): { readonly reason: string; readonly until: number } | { readonly approval: Approval } | undefined {
  if (!grant.approval) return undefined;
  const until = approved?.get(grant.name);
  if (until === undefined || at === undefined || until <= at) return { approval: grant.approval };
  return { reason: `${found.reason}, approved`, until: Math.min(until, found.until ?? until) };
}

function needsApproval(approval: Approval): string {
  return `${formatPlace(approval.place)} it needs ${describeApproval(approval)}`;
}

/** A denial that names the issuer of a sign-in looks at the sign-in, too: nobody signs in to be denied less. */
function denial(denials: readonly Denial[] | undefined, attestation: Attestation, kind: Kind): string | undefined {
  for (const one of denials ?? []) {
    const why =
      whyDenied(one, attestation, kind) ??
      attestation.signIns
        ?.filter(({ issuer }) => issuer === one.issuer)
        .map(({ issuer, subject, login, claims }) =>
          whyDenied(one, { ...attestation, issuer, subject, login, claims }, 'generic'),
        )
        .find((reason) => reason !== undefined);
    if (why !== undefined) return `${formatPlace(one.place)} denied: ${why}`;
  }
  return undefined;
}

function nothing(access: Access, why: string): Decision {
  return { grants: [], requestable: [], refusals: access.grants.map(({ name }) => `grant ${name}: ${why}`) };
}

/**
 * Whether somebody may approve: the first entry of `by` that names them. Jobs and other workloads approve nothing: they run in the
 * name of whoever set them off.
 * @param at Unix seconds; without it no sign-in counts
 * @returns its place and words; undefined where none does
 * @example
 * ```ts
 * import { approverEntry, parseAccess } from '@meshpass/access';
 * import type { Attestation } from '@meshpass/identity';
 * const access = parseAccess(`
 * trust: {codespaces: {organization: acme}}
 * grants:
 *   dev: {who: [{user: alice}], to: [{service: orders.shop, port: 80}], approval: {by: {team: acme/leads}}}`, 'access.yaml');
 * const lead: Attestation = {
 *   ...{ attestor: 'github-codespace', issuer: 'github', subject: 'github:2', login: 'bob', claims: {}, teams: ['acme/leads'] },
 *   githubUser: { id: 2, login: 'bob' },
 *   workspace: { kind: 'codespace', key: 'codespace:2', name: 'space' },
 *   proofHash: 'a'.repeat(64),
 * };
 * const { approval } = access.grants[0]!;
 * approverEntry(approval!, lead, access); // => 'access.yaml:4:86 team acme/leads'
 * approverEntry(approval!, { ...lead, teams: [] }, access); // => undefined
 * ```
 */
export function approverEntry(
  approval: Pick<Approval, 'by'>,
  attestation: Attestation,
  access: Access,
  at?: number,
): string | undefined {
  const kind = trustedKind(attestation, access);
  if (!kind || !isPerson(attestation, access, at) || denial(access.deny, attestation, kind) !== undefined)
    return undefined;
  // Of a file that names them the parser has said so. Whoever reviews may be named by an earlier one.
  if (isHidden(attestation, access)) return undefined;
  const match = approval.by.find(
    (who) => whyNot(who, attestation, kind) === undefined && 'until' in holdsSignIn(who, attestation, at),
  );
  return match && `${formatPlace(match.place)} ${describeWho(match)}`;
}

/**
 * Whether an attestation is of a person: a Codespace, an issuer at which people sign in (`signIn`), or a session in which somebody has
 * signed in. Tokens of CI systems and other workloads are of nobody: they name a branch or a job, and carry the name of whoever set it off.
 * @param at Unix seconds: a sign-in whose time has passed by then makes nobody a person; without it none counts
 * @example
 * ```ts
 * import { isPerson, parseAccess } from '@meshpass/access';
 * import type { Attestation } from '@meshpass/identity';
 * const access = parseAccess(`
 * trust: {issuers: {gitlab: {issuer: https://gitlab.com, audience: meshpass}}}
 * grants: {}`, 'access.yaml');
 * const job: Attestation = {
 *   ...{ attestor: 'oidc', issuer: 'gitlab', subject: 'gitlab:1', login: 'alice', claims: { user_login: 'alice' }, teams: [] },
 *   workspace: { kind: 'other', key: 'gitlab:1', name: 'job' },
 *   proofHash: 'a'.repeat(64),
 * };
 * isPerson(job, access, 1_700_000_000); // => false
 * ```
 */
export function isPerson(attestation: Attestation, access: Access, at: number | undefined): boolean {
  const kind = trustedKind(attestation, access);
  if (kind !== 'generic') return kind === 'codespace';
  const issuer = access.trust.issuers.find(({ name }) => name === attestation.issuer);
  return (
    issuer?.signIn !== undefined || (attestation.signIns ?? []).some(({ until }) => at !== undefined && until > at)
  );
}

function trustedKind(attestation: Attestation, access: Access): Kind | undefined {
  if (attestation.attestor === 'github-codespace') {
    return attestation.issuer === 'github' && access.trust.codespaces ? 'codespace' : undefined;
  }
  return access.trust.issuers.find(({ name }) => name === attestation.issuer)?.kind;
}
