/** Matches the entries of `who` and `deny` against attestations. */
import { type Attestation, memoize, type SignIn } from '@meshpass/identity';
import type { Denial, Who } from '../model.ts';
import { formatPlace } from '../problem.ts';
import { type Expression, parseExpression } from '../schema/expression.ts';
import { matchesRef, matchesRepository } from '../schema/pattern.ts';
import { describeWho } from './describe-who.ts';

/** The kind of an issuer. It determines which fields of an attestation can be trusted. */
export type Kind = 'codespace' | 'actions' | 'generic';

/** GitHub Actions claims that tie a workflow to its owner, so a stranger's workflow cannot have the same values. */
const BINDING_CLAIMS: readonly string[] = [
  ...['repository', 'repository_id', 'repository_owner', 'repository_owner_id'],
  ...['enterprise', 'enterprise_id'],
];

/**
 * Whether an entry only accepts workflows of a certain owner. This is required because anyone on GitHub can run
 * workflows.
 */
export function restrictsWorkflowOwner({ repository, repositoryId, issuer, claims, when }: Who): boolean {
  if (repository !== undefined || repositoryId !== undefined) return true;
  const bound = when !== undefined || Object.keys(claims ?? {}).some((name) => BINDING_CLAIMS.includes(name));
  return issuer !== undefined && bound;
}

/** Whether an entry identifies people rather than repositories or workloads. */
export function identifiesPerson({ user, userId, team, role }: Who): boolean {
  return (user ?? userId ?? team ?? role) !== undefined;
}

/**
 * Returns an entry's team in the form that attestations use.
 * @returns `org/slug`, or for example `org/#31` if the entry has a team id
 */
export function teamOf({ team, teamId }: Who): string | undefined {
  return team === undefined || teamId === undefined ? team : `${team.split('/')[0]}/#${teamId}`;
}

/** Whether an entry has fields that only GitHub can attest. */
export function needsGithub(who: Who): boolean {
  return identifiesPerson(who) || (who.repository ?? who.repositoryId ?? who.ref ?? who.environment) !== undefined;
}

/** Explains why an entry does not match an attestation, or returns undefined if it does. */
export function whyEntryMismatch(who: Who, attestation: Attestation, kind: Kind): string | undefined {
  const { issuer } = who;
  // The parser rejects empty entries. If one gets here anyway, it matches no one.
  if (isEmpty(who)) return 'the entry is empty';
  if (issuer !== undefined && issuer !== attestation.issuer) return `issuer is ${attestation.issuer}, not ${issuer}`;
  if (kind === 'generic' && needsGithub(who)) {
    return `issuer ${attestation.issuer} does not attest a GitHub user, team or repository`;
  }
  if (kind === 'actions') {
    if (!restrictsWorkflowOwner(who)) return 'a GitHub Actions token only matches entries that set its repository';
    const repository = who.repository ?? who.repositoryId;
    if (identifiesPerson(who) && (issuer === undefined || repository === undefined)) {
      return 'for GitHub Actions, user and team also require issuer and repository';
    }
  }
  return (
    whyNotPerson(who, attestation) ??
    whyNotWorkspace(who, attestation, kind) ??
    whyClaimsMismatch(who, attestation) ??
    whyConditionUnmet(who, attestation)
  );
}

/**
 * Explains why a denial matches, or returns undefined if it does not. This fails closed: a condition that cannot be
 * decided counts as matched.
 */
function whyDenied(denial: Denial, attestation: Attestation, kind: Kind): string | undefined {
  if (isEmpty(denial) || isAnother(denial, attestation, kind) || hasOtherClaims(denial, attestation)) return undefined;
  if (denial.when !== undefined && evaluateWhen(denial, attestation) === false) return undefined;
  return denial.reason ?? describeWho(denial);
}

/**
 * Explains why a denial applies, or returns undefined if none does. A denial that names an issuer also matches sign-ins
 * at that issuer, so users cannot escape a denial by signing in.
 */
export function whyAnyDenied(
  denials: readonly Denial[] | undefined,
  attestation: Attestation,
  kind: Kind,
): string | undefined {
  for (const one of denials ?? []) {
    const why =
      whyDenied(one, attestation, kind) ??
      attestation.signIns
        ?.filter(({ issuer }) => issuer === one.issuer)
        .map((signIn) => whyDenied(one, asSignedIn(attestation, signIn), 'generic'))
        .find((reason) => reason !== undefined);
    if (why !== undefined) return `${formatPlace(one.place)} denied: ${why}`;
  }
  return undefined;
}

/**
 * Replaces a session's identity with the one from a sign-in. The GitHub user is removed, because the sign-in's issuer
 * does not attest it.
 */
export function asSignedIn({ githubUser: _, ...attestation }: Attestation, signIn: SignIn): Attestation {
  const { issuer, subject, login, claims } = signIn;
  return { ...attestation, issuer, subject, login, claims };
}

/** Whether an attestation definitely belongs to a different person, job or repository. */
function isAnother(denial: Denial, attestation: Attestation, kind: Kind): boolean {
  const { issuer, userId, repositoryId, ref, environment } = denial;
  const { githubUser, notInTeams = [], workspace, claims } = attestation;
  const team = teamOf(denial);
  const attested = fullRef(attestation, kind);
  return [
    issuer !== undefined && issuer !== attestation.issuer,
    userId !== undefined && githubUser?.id !== userId,
    // GitHub does not report hidden teams. Only an explicit answer proves that a user is not a member.
    team !== undefined && (!githubUser || notInTeams.includes(team)),
    repositoryId !== undefined && workspace.repository?.id !== repositoryId,
    ref !== undefined && attested !== undefined && !matchesRef(ref, attested),
    environment !== undefined && claims.environment !== environment,
  ].includes(true);
}

function hasOtherClaims({ claims }: Denial, attestation: Attestation): boolean {
  return Object.entries(claims ?? {}).some(([name, values]) => {
    const claim = claimStrings(attestation.claims, name);
    return (
      claim !== undefined && isDecidable(attestation.claims[name]) && !values.some((value) => claim.includes(value))
    );
  });
}

function isEmpty(who: Who): boolean {
  const { issuer, claims, when, signedIn } = who;
  return !needsGithub(who) && [issuer, claims, when, signedIn].every((member) => member === undefined);
}

function whyNotPerson(who: Who, { githubUser, ...attestation }: Attestation) {
  const { user, userId, role } = who;
  const team = teamOf(who);
  if (user !== undefined && githubUser?.login.toLowerCase() !== user.toLowerCase()) {
    return `user is ${githubUser?.login ?? 'not a GitHub user'}, not ${user}`;
  }
  if (userId !== undefined && githubUser?.id !== userId) {
    return `user id is ${githubUser?.id ?? 'unknown'}, not ${userId}`;
  }
  if (team !== undefined && !(githubUser && attestation.teams.includes(team.toLowerCase()))) {
    return `not in team ${team}${who.teamId === undefined ? '' : ` (${who.team})`}`;
  }
  if (role !== undefined && !(githubUser && attestation.organizationRoles?.includes(role))) return `not ${role}`;
  return undefined;
}

function whyNotWorkspace(who: Who, attestation: Attestation, kind: Kind): string | undefined {
  const { repository, repositoryId, ref, environment } = who;
  const attested = attestation.workspace.repository;
  const known = (value: string | number | undefined) => value ?? 'unknown';
  if (repository !== undefined && (!attested || !matchesRepository(repository, attested.fullName))) {
    return `repository is ${known(attested?.fullName)}, not ${repository}`;
  }
  if (repositoryId !== undefined && attested?.id !== repositoryId) {
    return `repository id is ${known(attested?.id)}, not ${repositoryId}`;
  }
  const attestedRef = fullRef(attestation, kind);
  if (ref !== undefined && (attestedRef === undefined || !matchesRef(ref, attestedRef))) {
    return `ref is ${known(attestedRef)}, not ${ref}`;
  }
  const claim = kind === 'actions' ? attestation.claims.environment : undefined;
  if (environment === undefined || claim === environment) return undefined;
  return `environment is ${typeof claim === 'string' ? claim : 'none'}, not ${environment}`;
}

/** Returns the full Git ref. GitHub Actions sends `refs/heads/main`, whereas Codespaces only send `main`. */
function fullRef({ workspace: { ref } }: Attestation, kind: Kind): string | undefined {
  return ref === undefined || kind !== 'codespace' || ref.startsWith('refs/') ? ref : `refs/heads/${ref}`;
}

/** Explains why the claims that an entry requires do not match, or returns undefined if they do. */
export function whyClaimsMismatch(
  { claims }: Pick<Who, 'claims'>,
  attestation: Pick<Attestation, 'claims'>,
): string | undefined {
  for (const [name, values] of Object.entries(claims ?? {})) {
    const claim = claimStrings(attestation.claims, name);
    if (claim === undefined) return `claim ${name} is missing`;
    if (!values.some((value) => claim.includes(value))) return `claim ${name} is not ${values.join(' or ')}`;
  }
  return undefined;
}

/**
 * Returns the values of a claim as strings: either the claim itself, or the elements of a list. Unverified email
 * addresses are ignored, because users can enter any address (OpenID Connect Core section 5.1).
 * @returns the values, or undefined if the claim is missing or has no comparable value
 */
export function claimStrings(claims: Readonly<Record<string, unknown>>, name: string): readonly string[] | undefined {
  if (!Object.hasOwn(claims, name) || (name === 'email' && !hasVerifiedEmail(claims))) return undefined;
  const claim = claims[name];
  const texts = (Array.isArray(claim) ? claim : [claim]).flatMap((value) =>
    isComparable(value) ? [String(value)] : [],
  );
  return texts.length > 0 || Array.isArray(claim) ? texts : undefined;
}

function hasVerifiedEmail({ email_verified: verified }: Readonly<Record<string, unknown>>): boolean {
  return verified === true;
}

/**
 * Whether every value of a claim can be compared. An object, or a list that contains one, could hide a denied value.
 */
function isDecidable(claim: unknown): boolean {
  return (Array.isArray(claim) ? claim : [claim]).every(isComparable);
}

/**
 * Whether a value can be compared reliably. JSON numbers lose precision above 2^53, so different integers could compare
 * as equal.
 */
function isComparable(value: unknown): value is string | number | boolean {
  return typeof value === 'number'
    ? Number.isSafeInteger(value) || !Number.isInteger(value)
    : typeof value === 'string' || typeof value === 'boolean';
}

/** Explains why an expression is not true, or returns undefined if it is. */
export function whyConditionUnmet(who: Pick<Who, 'when'>, attestation: Attestation): string | undefined {
  if (who.when === undefined) return undefined;
  const result = evaluateWhen(who, attestation);
  if (result === true) return undefined;
  return result === false ? '"when" is false' : `cannot evaluate "when": ${result.error}`;
}

/**
 * Evaluates an expression against the same claims that `claims` is compared with. These do not include an unverified
 * email address.
 */
function evaluateWhen(who: Pick<Who, 'when'>, attestation: Attestation): ReturnType<Expression['evaluate']> {
  const { email: _, ...others } = attestation.claims;
  const claims = hasVerifiedEmail(attestation.claims) ? attestation.claims : others;
  return compiledWhen(who)({ ...attestation, claims });
}

const compiledWhen = memoize(({ when = '' }: Pick<Who, 'when'>): Expression['evaluate'] => {
  const parsed = parseExpression(when);
  return 'value' in parsed ? parsed.value.evaluate : () => ({ error: parsed.message });
});
