/** What entries of an access file mean beside each other: references, duplicates, and who could never match or anybody. */
import { didYouMean, type Place } from '@meshpass/istio';
import { hidesPeople } from '../authorize/operators.ts';
import { bindsWorkflows, type Kind, namesPerson, needsGithub } from '../authorize/who.ts';
import type { Access, ApprovalWebhook, Denial, Grant, GrantTarget, TrustedIssuer, Who } from '../model.ts';
import { type AccessFileProblem, formatPlace } from '../problem.ts';
import { checkOperators } from './check-operators.ts';

/** @returns every finding, in no particular order */
export function checkReferences(
  access: Access,
  issuerPlaces: ReadonlyMap<string, Place>,
): readonly AccessFileProblem[] {
  return [
    ...duplicateIssuers(access.trust.issuers, issuerPlaces),
    ...checkOperators(access),
    ...(access.deny ?? []).flatMap((denial) => checkDenial(denial, access)),
    ...(access.webhooks ?? []).flatMap((webhook) => checkWebhook(webhook, access)),
    ...access.grants.flatMap((grant) => [
      ...grant.who.flatMap((who) => checkWho(who, access)),
      ...(grant.except ?? []).flatMap((denial) => checkDenial(denial, access)),
      ...(grant.approval?.by ?? []).flatMap((who) => checkPerson(who, access, 'approve')),
      ...emergencyPeople(grant).flatMap(({ who, acts }) => checkPerson(who, access, acts)),
      ...duplicateTargets(grant),
      ...duplicateRoles(grant),
    ]),
  ];
}

const TEAM_ID_ALONE = 'team_id needs "team" beside it, which says the organization: {team: acme/payments, team_id: 31}';

function checkWho(who: Who, access: Access): readonly AccessFileProblem[] {
  return [...checkMembers(who, access), ...checkSignedIn(who, access)];
}

function checkSignedIn({ signedIn, place }: Who, access: Access): readonly AccessFileProblem[] {
  if (!signedIn) return [];
  const problem = (message: string): AccessFileProblem => ({ code: 'access_file_invalid', place, message });
  const known = access.trust.issuers.find(({ name }) => name === signedIn.issuer);
  if (known) {
    const message = `nobody can sign in at "${signedIn.issuer}": give it signIn: {client: CLIENT_ID} in trust.issuers`;
    return known.signIn ? [] : [problem(message)];
  }
  const names = access.trust.issuers.filter(({ signIn }) => signIn).map(({ name }) => name);
  return [
    problem(
      `signedIn: unknown issuer "${signedIn.issuer}"${didYouMean(signedIn.issuer, names)}; people can sign in at ${names.join(', ') || 'none'}`,
    ),
  ];
}

function checkMembers(who: Who, access: Access): readonly AccessFileProblem[] {
  const problem = (message: string): AccessFileProblem => ({ code: 'access_file_invalid', place: who.place, message });
  const { codespaces, issuers } = access.trust;
  if (who.teamId !== undefined && who.team === undefined) return [problem(TEAM_ID_ALONE)];
  const hasRepository = who.repository !== undefined || who.repositoryId !== undefined;
  if (who.issuer === undefined) {
    const jobs = (hasRepository || who.environment !== undefined) && issuers.some(({ kind }) => kind === 'actions');
    if (who.environment !== undefined && !jobs)
      return [
        problem('nobody can match: only jobs of GitHub Actions have an environment, and no such issuer is trusted'),
      ];
    if (who.environment !== undefined && !hasRepository)
      return [problem('every repository on GitHub can have an environment of this name: add "repository"')];
    return needsGithub(who) && !codespaces && !jobs
      ? [problem('nobody can match: set trust.codespaces.organization, so that Codespaces are accepted')]
      : [];
  }
  const known = findIssuer(who.issuer, access);
  if ('message' in known) return [problem(known.message)];
  if (known.kind === 'codespace') {
    return who.environment === undefined
      ? []
      : [problem('a Codespace has no environment: name an issuer of GitHub Actions')];
  }
  if (known.kind === 'generic') {
    return needsGithub(who)
      ? [problem(`issuer "${who.issuer}" attests no GitHub user, team or repository: use "when" or "claims"`)]
      : [];
  }
  if (!bindsWorkflows(who)) {
    return [problem(`issuer "${who.issuer}" serves every repository on GitHub: add "repository"`)];
  }
  if (namesPerson(who) && !hasRepository) {
    return [problem('anyone can make a workflow run as another user in a repository of their own: add "repository"')];
  }
  return [];
}

/** Reviewers are the approvers where the file names none. */
function emergencyPeople({ approval }: Grant): readonly { readonly who: Who; readonly acts: Acts }[] {
  const { who = [], review = [] } = approval?.emergency ?? {};
  const others = review === approval?.by ? [] : review;
  return [
    ...who.map((one) => ({ who: one, acts: 'take a grant in an emergency' as const })),
    ...others.map((one) => ({ who: one, acts: 'review' as const })),
  ];
}

type Acts = 'approve' | 'take a grant in an emergency' | 'review';

/** Whoever approves is a person, and asked as one: from where they do says nothing of them. */
function checkPerson(who: Who, access: Access, acts: Acts): readonly AccessFileProblem[] {
  const problem = (message: string): readonly AccessFileProblem[] => [
    { code: 'access_file_invalid', place: who.place, message },
  ];
  const { repository, repositoryId, ref, environment } = who;
  if ([repository, repositoryId, ref, environment].some((member) => member !== undefined))
    return problem(`people ${acts}, wherever they are: leave out repository, ref and environment`);
  const known = who.issuer === undefined ? undefined : findIssuer(who.issuer, access);
  if (known && 'kind' in known && known.kind === 'actions')
    return problem(`a job cannot ${acts}: name people, by GitHub or by an identity provider`);
  if (who.issuer !== undefined && known && 'kind' in known && !isOfPeople(who.issuer, access) && !who.signedIn)
    return problem(notOfPeople(who.issuer));
  // An entry without an issuer is of any, unless it is about GitHub.
  const isMeant = ({ name }: TrustedIssuer) => (who.issuer === undefined ? !needsGithub(who) : name === who.issuer);
  const hiding = access.trust.issuers.find((issuer) => isMeant(issuer) && hidesPeople(issuer));
  if (acts !== 'take a grant in an emergency' && hiding)
    return problem(
      `people who ${acts} are told from those who ask by "sub", and "${hiding.name}" may give operators another one at "operatorClient": ` +
        `if it gives the same at both clients, set trust.issuers.${hiding.name}.signIn.subjectType: public${who.issuer === undefined ? ', or say "issuer" of the others' : ''}`,
    );
  return checkWho(who, access);
}

function isOfPeople(issuer: string, { trust }: Access): boolean {
  return issuer === 'github' || trust.issuers.some(({ name, signIn }) => name === issuer && signIn !== undefined);
}

/** Its tokens may be of CI jobs, which carry the name of whoever set them off. */
function notOfPeople(issuer: string): string {
  return `nothing says that "${issuer}" confirms people: set trust.issuers.${issuer}.signIn with its public OAuth client`;
}

/** It speaks for people of an issuer that confirms people. */
function checkWebhook({ place, speaksFor }: ApprovalWebhook, access: Access): readonly AccessFileProblem[] {
  const known = findIssuer(speaksFor, access);
  if ('message' in known) return [{ code: 'access_file_invalid', place, message: `speaksFor: ${known.message}` }];
  if (isOfPeople(speaksFor, access)) return [];
  const job = 'a job cannot approve: name github, or an identity provider';
  const message = `speaksFor: ${known.kind === 'actions' ? job : notOfPeople(speaksFor)}`;
  return [{ code: 'access_file_invalid', place, message }];
}

/** A denial must stand on what the denied cannot change or hide. */
function checkDenial(denial: Denial, access: Access): readonly AccessFileProblem[] {
  const problem = (message: string): readonly AccessFileProblem[] => [
    { code: 'access_file_invalid', place: denial.place, message },
  ];
  if (denial.user !== undefined)
    return problem('a login can be renamed to get around this: write user_id (`gh api users/LOGIN --jq .id`)');
  if (denial.repository !== undefined)
    return problem(
      'a repository can be renamed to get around this: write repository_id (`gh api repos/OWNER/NAME --jq .id`)',
    );
  if (denial.teamId !== undefined && denial.team === undefined) return problem(TEAM_ID_ALONE);
  if ((denial.team !== undefined && denial.teamId === undefined) || denial.role !== undefined)
    return problem(
      'GitHub says the same of who is in no team as of a team that it does not show, and a team can be renamed to get around this: deny by user_id or claims, by team_id beside team, or name in "who" those who may',
    );
  const known = denial.issuer === undefined ? undefined : findIssuer(denial.issuer, access);
  if (known && 'message' in known) return problem(known.message);
  if ((denial.claims !== undefined || denial.when !== undefined) && !known)
    return problem('claims differ by issuer, and what is missing counts as denied: say "issuer" beside it');
  if ((denial.ref !== undefined || denial.environment !== undefined) && known?.kind !== 'actions')
    return problem('only of jobs of GitHub Actions is this known for certain: say "issuer" beside it');
  if (known?.kind === 'generic' && needsGithub(denial))
    return problem(`issuer "${denial.issuer}" attests no GitHub user or repository: use "when" or "claims"`);
  return [];
}

function findIssuer(
  name: string,
  { trust: { codespaces, issuers } }: Access,
): { readonly kind: Kind } | { readonly message: string } {
  if (name === 'github') {
    return codespaces
      ? { kind: 'codespace' }
      : { message: 'issuer "github" is not trusted: set trust.codespaces.organization' };
  }
  const issuer = issuers.find((one) => one.name === name);
  if (issuer) return issuer;
  const known = ['github', ...issuers.map((one) => one.name)];
  const listed = (codespaces ? known : known.slice(1)).join(', ') || 'none';
  return { message: `unknown issuer "${name}"${didYouMean(name, known)}; trusted are ${listed}` };
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
  return grant.to.flatMap((target) => {
    const { allow, place } = target;
    const { key, words } = nameTarget(target);
    const earlier = seen.get(key);
    const operations = new Set((allow ?? []).map(({ method, path }) => `${method} ${path}`));
    seen.set(key, earlier ?? place);
    const problems: AccessFileProblem[] = [];
    if (earlier)
      problems.push({
        code: 'access_file_invalid',
        place,
        message: `${words} stands in this grant already, at ${formatPlace(earlier)}`,
      });
    if (operations.size < (allow?.length ?? 0))
      problems.push({ code: 'access_file_invalid', place, message: `${words} allows an operation twice` });
    return problems;
  });
}

/** What tells one target of a grant from another. */
function nameTarget({ service, namespace, namespaceLabels, labels, host, port }: GrantTarget) {
  const key = JSON.stringify([service, namespace, host, port, sorted(namespaceLabels), sorted(labels)]);
  const selected = host ?? `${service ?? '*'}.${namespace ?? '*'}`;
  return { key, words: `${selected}:${port}` };
}

function duplicateRoles(grant: Grant): readonly AccessFileProblem[] {
  const seen = new Set<string>();
  return grant.kubernetesRoles.flatMap(({ role, namespace, namespaceLabels, place }) => {
    const key = JSON.stringify([role, namespace, sorted(namespaceLabels)]);
    if (seen.has(key)) {
      const message = `${role}@${namespace ?? 'labelled namespaces'} stands in this grant already`;
      return [{ code: 'access_file_invalid', place, message } as const];
    }
    seen.add(key);
    return [];
  });
}

function sorted(labels: Readonly<Record<string, string>> | undefined): unknown {
  return labels && Object.entries(labels).sort();
}
