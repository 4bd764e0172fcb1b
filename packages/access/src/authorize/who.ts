/** Whether an entry of `who` holds for an attestation, and if not, why. */
import type { Attestation } from '@meshpass/identity';
import type { Denial, Who } from '../model.ts';
import { type Expression, parseExpression } from '../schema/expression.ts';
import { matchesRef, matchesRepository } from '../schema/pattern.ts';
import { describeWho } from './describe-who.ts';

/** What kind of issuer has attested: it decides what the attestation can be believed to say. */
export type Kind = 'codespace' | 'actions' | 'generic';

/** Claims of GitHub Actions that a stranger's workflow cannot have. */
export const BINDING_CLAIMS: readonly string[] = [
  ...['repository', 'repository_id', 'repository_owner', 'repository_owner_id'],
  ...['enterprise', 'enterprise_id'],
];

/** Whether an entry names whose workflows are meant: everyone on GitHub may run some. */
export function bindsWorkflows({ repository, repositoryId, issuer, claims, when }: Who): boolean {
  if (repository !== undefined || repositoryId !== undefined) return true;
  const bound = when !== undefined || Object.keys(claims ?? {}).some((name) => BINDING_CLAIMS.includes(name));
  return issuer !== undefined && bound;
}

/** Whether an entry says who, rather than from where. */
export function namesPerson({ user, userId, team, role }: Who): boolean {
  return (user ?? userId ?? team ?? role) !== undefined;
}

/**
 * The team of an entry as attestations name it.
 * @returns `org/slug`; `org/#31` where the entry has the team's id
 */
export function teamOf({ team, teamId }: Who): string | undefined {
  return team === undefined || teamId === undefined ? team : `${team.split('/')[0]}/#${teamId}`;
}

/** Whether an entry has members that only GitHub attests. */
export function needsGithub(who: Who): boolean {
  return namesPerson(who) || (who.repository ?? who.repositoryId ?? who.ref ?? who.environment) !== undefined;
}

/** Why an entry does not hold, or undefined where it does. */
export function whyNot(who: Who, attestation: Attestation, kind: Kind): string | undefined {
  const { issuer } = who;
  // Entries without any member are refused by the parser; here they still match nobody.
  if (isEmpty(who)) return 'the entry is empty';
  if (issuer !== undefined && issuer !== attestation.issuer) return `issuer is ${attestation.issuer}, not ${issuer}`;
  if (kind === 'generic' && needsGithub(who)) {
    return `issuer ${attestation.issuer} attests no GitHub user, team or repository`;
  }
  if (kind === 'actions') {
    if (!bindsWorkflows(who)) return 'a token of GitHub Actions needs an entry that names its repository';
    const repository = who.repository ?? who.repositoryId;
    if (namesPerson(who) && (issuer === undefined || repository === undefined)) {
      return 'user and team hold for GitHub Actions only beside issuer and repository';
    }
  }
  return (
    whyNotPerson(who, attestation) ??
    whyNotWorkspace(who, attestation, kind) ??
    whyNotClaims(who, attestation) ??
    whyNotWhen(who, attestation)
  );
}

/**
 * Why a denial holds, or undefined where it does not. The other way round than above: nothing has to be proved to be
 * denied, so what cannot be decided counts as met.
 */
export function whyDenied(denial: Denial, attestation: Attestation, kind: Kind): string | undefined {
  const { issuer, claims, when, reason, userId, repositoryId, ref, environment } = denial;
  const team = teamOf(denial);
  if (isEmpty(denial)) return undefined;
  if (issuer !== undefined && issuer !== attestation.issuer) return undefined;
  if (userId !== undefined && attestation.githubUser?.id !== userId) return undefined;
  const { githubUser, notInTeams = [] } = attestation;
  // Not in it is only who GitHub says is not: of a team that it does not show it says nothing.
  if (team !== undefined && (!githubUser || notInTeams.includes(team))) return undefined;
  if (repositoryId !== undefined && attestation.workspace.repository?.id !== repositoryId) return undefined;
  const attested = fullRef(attestation, kind);
  if (ref !== undefined && attested !== undefined && !matchesRef(ref, attested)) return undefined;
  if (environment !== undefined && attestation.claims.environment !== environment) return undefined;
  for (const [name, values] of Object.entries(claims ?? {})) {
    const claim = claimTexts(attestation.claims, name);
    if (claim !== undefined && !values.some((value) => claim.includes(value))) return undefined;
  }
  if (when !== undefined && compiledWhen(denial, when).evaluate(attestation) === false) return undefined;
  return reason ?? describeWho(denial);
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
    return `user id is ${githubUser?.id ?? 'not known'}, not ${userId}`;
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
  if (repository !== undefined && (!attested || !matchesRepository(repository, attested.fullName))) {
    return `repository is ${attested?.fullName ?? 'not known'}, not ${repository}`;
  }
  if (repositoryId !== undefined && attested?.id !== repositoryId) {
    return `repository id is ${attested?.id ?? 'not known'}, not ${repositoryId}`;
  }
  const attestedRef = fullRef(attestation, kind);
  if (ref !== undefined && (attestedRef === undefined || !matchesRef(ref, attestedRef))) {
    return `ref is ${attestedRef ?? 'not known'}, not ${ref}`;
  }
  if (environment !== undefined) {
    const claim = kind === 'actions' ? attestation.claims.environment : undefined;
    if (claim !== environment)
      return `environment is ${typeof claim === 'string' ? claim : 'none'}, not ${environment}`;
  }
  return undefined;
}

/** GitHub Actions gives `refs/heads/main`, Codespaces give `main`. */
function fullRef({ workspace: { ref } }: Attestation, kind: Kind): string | undefined {
  return ref === undefined || kind !== 'codespace' || ref.startsWith('refs/') ? ref : `refs/heads/${ref}`;
}

/** Why claims are not as an entry has them, or undefined where they are. */
export function whyNotClaims(
  { claims }: Pick<Who, 'claims'>,
  attestation: Pick<Attestation, 'claims'>,
): string | undefined {
  for (const [name, values] of Object.entries(claims ?? {})) {
    const claim = claimTexts(attestation.claims, name);
    if (claim === undefined) return `there is no claim ${name}`;
    if (!values.some((value) => claim.includes(value))) return `claim ${name} is not ${values.join(' or ')}`;
  }
  return undefined;
}

/**
 * A claim's values as text: itself, or the elements of a list.
 * @returns undefined where there is no such claim, or nothing in it that can be compared
 */
export function claimTexts(claims: Readonly<Record<string, unknown>>, name: string): readonly string[] | undefined {
  if (!Object.hasOwn(claims, name)) return undefined;
  const claim = claims[name];
  const texts = (Array.isArray(claim) ? claim : [claim]).flatMap((value) =>
    typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean' ? [String(value)] : [],
  );
  return texts.length > 0 || Array.isArray(claim) ? texts : undefined;
}

/** Why an expression does not hold, or undefined where it does. */
export function whyNotWhen(who: Pick<Who, 'when'>, attestation: Attestation): string | undefined {
  if (who.when === undefined) return undefined;
  const result = compiledWhen(who, who.when).evaluate(attestation);
  if (result === true) return undefined;
  return result === false ? '"when" does not hold' : `"when" cannot be decided: ${result.error}`;
}

/** Compiled once per entry of a file. */
const compiled = new WeakMap<object, Expression>();

function compiledWhen(who: object, when: string): Expression {
  let expression = compiled.get(who);
  if (!expression) {
    const parsed = parseExpression(when);
    expression = 'value' in parsed ? parsed.value : { evaluate: () => ({ error: parsed.message }) };
    compiled.set(who, expression);
  }
  return expression;
}
