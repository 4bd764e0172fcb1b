/** What entries of an access file mean beside each other: references, duplicates, and who could never match or anybody. */
import { didYouMean } from './did-you-mean.ts';
import type { Access, Grant, Place, TrustedIssuer, Who } from './model.ts';
import { type AccessFileProblem, formatPlace } from './problem.ts';

/** @returns every finding, in no particular order */
export function checkReferences(
  access: Access,
  issuerPlaces: ReadonlyMap<string, Place>,
): readonly AccessFileProblem[] {
  return [
    ...duplicateIssuers(access.trust.issuers, issuerPlaces),
    ...access.grants.flatMap((grant) => [
      ...grant.who.flatMap((who) => checkWho(who, access)),
      ...duplicateTargets(grant),
      ...duplicateRoles(grant),
    ]),
  ];
}

function checkWho(who: Who, access: Access): readonly AccessFileProblem[] {
  const problem = (message: string): AccessFileProblem => ({ code: 'access_file_invalid', place: who.place, message });
  const { codespaces, issuers } = access.trust;
  const saysGithub = who.user !== undefined || who.team !== undefined || who.repository !== undefined;
  if (who.issuer === undefined) {
    const attestsGithub =
      codespaces !== undefined || (who.repository !== undefined && issuers.some(({ kind }) => kind === 'actions'));
    return saysGithub && !attestsGithub
      ? [problem('nobody can match: set trust.codespaces.organization, so that Codespaces are accepted')]
      : [];
  }
  if (who.issuer === 'github') {
    return codespaces ? [] : [problem('issuer "github" is not trusted: set trust.codespaces.organization')];
  }
  const issuer = issuers.find(({ name }) => name === who.issuer);
  if (!issuer) {
    const known = ['github', ...issuers.map(({ name }) => name)];
    return [
      problem(
        `unknown issuer "${who.issuer}"${didYouMean(who.issuer, known)}; trust.issuers has ${known.slice(1).join(', ') || 'none'}`,
      ),
    ];
  }
  if (issuer.kind === 'generic') {
    return saysGithub
      ? [problem(`issuer "${who.issuer}" attests no GitHub user, team or repository: use "when" with its claims`)]
      : [];
  }
  if (who.repository === undefined && who.when === undefined) {
    return [problem(`issuer "${who.issuer}" serves every repository on GitHub: add "repository"`)];
  }
  if ((who.user !== undefined || who.team !== undefined) && who.repository === undefined) {
    return [problem('anyone can make a workflow run as another user in a repository of their own: add "repository"')];
  }
  return [];
}

function duplicateIssuers(
  issuers: readonly TrustedIssuer[],
  places: ReadonlyMap<string, Place>,
): readonly AccessFileProblem[] {
  return issuers.flatMap((issuer, index) => {
    const earlier = issuers.slice(0, index).find((other) => other.issuer === issuer.issuer);
    return earlier
      ? [
          {
            code: 'access_file_invalid',
            place: places.get(issuer.name)!,
            message: `issuers "${earlier.name}" and "${issuer.name}" are the same`,
          } as const,
        ]
      : [];
  });
}

function duplicateTargets(grant: Grant): readonly AccessFileProblem[] {
  const seen = new Map<string, Place>();
  return grant.to.flatMap(({ service, namespace, port, allow, place }) => {
    const key = `${service}.${namespace}:${port}`;
    const earlier = seen.get(key);
    const operations = new Set((allow ?? []).map(({ method, path }) => `${method} ${path}`));
    seen.set(key, earlier ?? place);
    const problems: AccessFileProblem[] = [];
    if (earlier)
      problems.push({
        code: 'access_file_invalid',
        place,
        message: `${key} stands in this grant already, at ${formatPlace(earlier)}`,
      });
    if (operations.size < (allow?.length ?? 0))
      problems.push({ code: 'access_file_invalid', place, message: `${key} allows an operation twice` });
    return problems;
  });
}

function duplicateRoles(grant: Grant): readonly AccessFileProblem[] {
  const seen = new Set<string>();
  return grant.kubernetesRoles.flatMap(({ role, namespace, place }) => {
    const key = `${role}@${namespace}`;
    if (seen.has(key))
      return [{ code: 'access_file_invalid', place, message: `${key} stands in this grant already` } as const];
    seen.add(key);
    return [];
  });
}
