/** The decision: which grants an attestation has, and why. Default deny; nothing is looked up, nothing is remembered. */
import type { Attestation } from '@meshpass/identity';
import { type Expression, parseExpression } from './expression.ts';
import type { Access, Decision, Grant, Who } from './model.ts';
import { matchesRepository } from './pattern.ts';
import { formatPlace } from './problem.ts';

/**
 * Decides. One alternative of a grant's `who` must hold with all of its members.
 *
 * GitHub Actions is special: everyone on GitHub may obtain a token of that issuer, and may have a workflow of their own
 * run as somebody else (an issue comment is enough). So such an attestation matches only entries that name a
 * repository, or that name the issuer and have a `when`; and `user` and `team` hold for it only beside both.
 */
export function authorize(attestation: Attestation, access: Access): Decision {
  const kind = trustedKind(attestation, access);
  if (!kind) {
    return {
      grants: [],
      refusals: access.grants.map(
        ({ name }) => `grant ${name}: issuer ${attestation.issuer} is not trusted by the access file`,
      ),
    };
  }
  const grants: { grant: Grant; reason: string }[] = [];
  const refusals: string[] = [];
  for (const grant of access.grants) {
    const failures: string[] = [];
    const match = grant.who.find((who) => {
      const failure = whyNot(who, attestation, kind);
      if (failure) failures.push(`${formatPlace(who.place)} ${failure}`);
      return !failure;
    });
    if (match) grants.push({ grant, reason: `${formatPlace(match.place)} ${describeWho(match)}` });
    else refusals.push(`grant ${grant.name}: ${failures.join('; ') || 'nobody is named'}`);
  }
  return { grants, refusals };
}

type Kind = 'codespace' | 'actions' | 'generic';

function trustedKind(attestation: Attestation, access: Access): Kind | undefined {
  if (attestation.attestor === 'github-codespace') {
    return attestation.issuer === 'github' && access.trust.codespaces ? 'codespace' : undefined;
  }
  return access.trust.issuers.find(({ name }) => name === attestation.issuer)?.kind;
}

/** Why an entry does not hold, or undefined where it does. */
function whyNot(who: Who, attestation: Attestation, kind: Kind): string | undefined {
  const { user, team, repository, issuer, when } = who;
  // Entries without any member are refused by the parser; here they still match nobody.
  if ([user, team, repository, issuer, when].every((member) => member === undefined)) return 'the entry is empty';
  if (issuer !== undefined && issuer !== attestation.issuer) return `issuer is ${attestation.issuer}, not ${issuer}`;
  if (kind === 'generic' && (user ?? team ?? repository) !== undefined) {
    return `issuer ${attestation.issuer} attests no GitHub user, team or repository`;
  }
  if (kind === 'actions') {
    if (repository === undefined && (issuer === undefined || when === undefined)) {
      return 'a token of GitHub Actions needs an entry that names its repository';
    }
    if ((user ?? team) !== undefined && (issuer === undefined || repository === undefined)) {
      return 'user and team hold for GitHub Actions only beside issuer and repository';
    }
  }
  if (user !== undefined && attestation.githubUser?.login.toLowerCase() !== user.toLowerCase()) {
    return `user is ${attestation.githubUser?.login ?? 'not a GitHub user'}, not ${user}`;
  }
  if (team !== undefined && !(attestation.githubUser && attestation.teams.includes(team.toLowerCase()))) {
    return `not in team ${team}`;
  }
  if (repository !== undefined) {
    const attested = attestation.workspace.repository?.fullName;
    if (attested === undefined || !matchesRepository(repository, attested)) {
      return `repository is ${attested ?? 'not known'}, not ${repository}`;
    }
  }
  return when === undefined ? undefined : whyNotWhen(who, when, attestation);
}

/** Compiled once per entry of a file. */
const compiled = new WeakMap<Who, Expression | { readonly error: string }>();

function whyNotWhen(who: Who, when: string, attestation: Attestation): string | undefined {
  let expression = compiled.get(who);
  if (!expression) {
    const parsed = parseExpression(when);
    expression = 'value' in parsed ? parsed.value : { error: parsed.message };
    compiled.set(who, expression);
  }
  const result = 'error' in expression ? expression : expression.evaluate(attestation);
  if (result === true) return undefined;
  return result === false ? '"when" does not hold' : `"when" cannot be decided: ${result.error}`;
}

function describeWho(who: Who): string {
  const members = [
    who.user !== undefined && `user ${who.user}`,
    who.team !== undefined && `team ${who.team}`,
    who.repository !== undefined && `repository ${who.repository}`,
    who.issuer !== undefined && `issuer ${who.issuer}`,
    who.when !== undefined && `when ${who.when}`,
  ];
  return members.filter((member) => member !== false).join(', ');
}
