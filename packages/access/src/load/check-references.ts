/**
 * Checks entries against each other. Finds dangling references, duplicates, and entries that match no one or everyone.
 */
import { didYouMean, type Place } from '@meshpass/istio';
import { mayUsePairwiseSubjects } from '../authorize/operators.ts';
import { identifiesPerson, type Kind, needsGithub, restrictsWorkflowOwner } from '../authorize/who.ts';
import {
  type Access,
  type ApprovalWebhook,
  type Denial,
  type Grant,
  type GrantTarget,
  OPERATOR_ROLES,
  type Operation,
  type TrustedIssuer,
  type Who,
} from '../model.ts';
import { type AccessFileProblem, formatPlace, problemAt } from '../problem.ts';
import { readExpression } from '../schema/expression.ts';
import { formatOperation } from '../schema/pattern.ts';

/** Checks the references in an access file and returns all problems, in no particular order. */
export function checkReferences(
  access: Access,
  issuerPlaces: ReadonlyMap<string, Place>,
): readonly AccessFileProblem[] {
  return [
    ...repeated(
      access.trust.issuers,
      ({ issuer }) => issuer,
      ({ name }, earlier) => problemAt(issuerPlaces.get(name)!, `issuers "${earlier.name}" and "${name}" are the same`),
    ),
    ...checkOperators(access),
    ...(access.deny ?? []).flatMap((denial) => checkDenial(denial, access)),
    ...(access.webhooks ?? []).flatMap((webhook) => checkWebhook(webhook, access)),
    ...access.grants.flatMap((grant) => [
      ...grant.who.flatMap((who) => checkWho(who, access)),
      ...(grant.except ?? []).flatMap((denial) => checkDenial(denial, access)),
      ...actingPeople(grant).flatMap(({ who, acts }) => checkPerson(who, access, acts)),
      ...checkTargets(grant),
      ...grant.to.flatMap(checkDeniedPaths),
      ...repeated(
        grant.kubernetesRoles,
        ({ role, namespace, namespaceLabels }) => JSON.stringify([role, namespace, sorted(namespaceLabels)]),
        ({ role, namespace, place }) =>
          problemAt(place, `${role}@${namespace ?? 'labelled namespaces'} is already in this grant`),
      ),
    ]),
  ];
}

const TEAM_ID_ALONE = 'team_id requires "team" for the organization: {team: acme/payments, team_id: 31}';

function checkWho(who: Who, access: Access): readonly AccessFileProblem[] {
  const { signedIn, place } = who;
  const messages = [
    whyNoOne(who, access),
    signedIn && whyNoSignIn(signedIn.issuer, access),
    whyForeignLogin(who, access),
  ];
  return messages.flatMap((message) => (message === undefined ? [] : [problemAt(place, message)]));
}

/** Explains why people cannot sign in at an issuer. Returns undefined if they can. */
function whyNoSignIn(name: string, { trust: { issuers } }: Access): string | undefined {
  const issuer = issuers.find((one) => one.name === name);
  if (issuer?.signIn) return undefined;
  if (issuer)
    return `people cannot sign in at "${name}": set trust.issuers.${name}.signIn.client to its public OAuth client`;
  const able = issuers.filter(({ signIn }) => signIn !== undefined).map((one) => one.name);
  return `unknown issuer "${name}"${didYouMean(name, able)}; issuers with "signIn": ${able.join(', ') || 'none'}`;
}

/** Explains why an entry matches no one, or anyone on GitHub. Returns undefined if the entry is valid. */
function whyNoOne(who: Who, access: Access): string | undefined {
  if (who.teamId !== undefined && who.team === undefined) return TEAM_ID_ALONE;
  if (who.issuer === undefined) return whyNoGithub(who, access.trust);
  const known = findIssuer(who.issuer, access);
  if ('message' in known) return known.message;
  switch (known.kind) {
    case 'codespace':
      return who.environment === undefined ? undefined : 'a Codespace has no environment: use a GitHub Actions issuer';
    case 'generic':
      return needsGithub(who)
        ? `issuer "${who.issuer}" does not attest a GitHub user, team or repository: use "when" or "claims"`
        : undefined;
    case 'actions':
      if (!restrictsWorkflowOwner(who))
        return `issuer "${who.issuer}" serves every repository on GitHub: add "repository"`;
      return identifiesPerson(who) && !namesRepository(who)
        ? 'anyone can make a workflow in their own repository run as another user: add "repository"'
        : undefined;
  }
}

function whyNoGithub(who: Who, { codespaces, issuers }: Access['trust']): string | undefined {
  const mayBeJob = namesRepository(who) || who.environment !== undefined;
  const jobs = mayBeJob && issuers.some(({ kind }) => kind === 'actions');
  if (who.environment !== undefined && !jobs)
    return 'the entry matches nothing: only GitHub Actions jobs have an environment, and trust.issuers has no GitHub Actions issuer';
  if (who.environment !== undefined && !namesRepository(who))
    return 'every repository on GitHub can have an environment of this name: add "repository"';
  return needsGithub(who) && !codespaces && !jobs
    ? 'the entry matches nothing: set trust.codespaces.organization to accept Codespaces'
    : undefined;
}

function namesRepository({ repository, repositoryId }: Who): boolean {
  return repository !== undefined || repositoryId !== undefined;
}

/** Checks that an entry for approvers or reviewers describes people and does not depend on a repository. */
function checkPerson(who: Who, access: Access, acts: Acts): readonly AccessFileProblem[] {
  const problem = (message: string) => [problemAt(who.place, message)];
  const { repository, repositoryId, ref, environment } = who;
  if ([repository, repositoryId, ref, environment].some((member) => member !== undefined))
    return problem(`only people can ${acts}, from any repository: remove repository, ref and environment`);
  const known = who.issuer === undefined ? undefined : findIssuer(who.issuer, access);
  if (known && 'kind' in known && known.kind === 'actions')
    return problem(`a job cannot ${acts}: use people from GitHub or an identity provider`);
  if (who.issuer !== undefined && known && 'kind' in known && !isOfPeople(who.issuer, access) && !who.signedIn)
    return problem(notOfPeople(who.issuer));
  // An entry without an issuer matches every issuer, unless it has fields that only GitHub attests.
  const isMeant = ({ name }: TrustedIssuer) => (who.issuer === undefined ? !needsGithub(who) : name === who.issuer);
  const hiding = access.trust.issuers.find((issuer) => isMeant(issuer) && mayUsePairwiseSubjects(issuer));
  if (acts !== 'take a grant in an emergency' && hiding)
    return problem(
      `the broker compares the "sub" of people who ${acts} with the "sub" of people who request, and "${hiding.name}" may issue a different "sub" for "operatorClient": ` +
        `if both clients get the same "sub", set trust.issuers.${hiding.name}.signIn.subjectType: public${who.issuer === undefined ? ', or add another "issuer" to the entry' : ''}`,
    );
  return checkWho(who, access);
}

function isOfPeople(issuer: string, { trust }: Access): boolean {
  return issuer === 'github' || trust.issuers.some(({ name, signIn }) => name === issuer && signIn !== undefined);
}

/**
 * Explains that an issuer is not known to authenticate people. Its tokens could belong to CI jobs, which contain the
 * name of the user who triggered them.
 */
function notOfPeople(issuer: string): string {
  return `"${issuer}" may issue tokens to CI jobs instead of people: set trust.issuers.${issuer}.signIn.client to its public OAuth client`;
}

/** Checks an approval webhook. Its issuer must be one that authenticates people. */
function checkWebhook({ place, speaksFor }: ApprovalWebhook, access: Access): readonly AccessFileProblem[] {
  const known = findIssuer(speaksFor, access);
  if ('message' in known) return [problemAt(place, `speaksFor: ${known.message}`)];
  if (isOfPeople(speaksFor, access)) return [];
  const job = 'a job cannot approve: use github, or an identity provider';
  return [problemAt(place, `speaksFor: ${known.kind === 'actions' ? job : notOfPeople(speaksFor)}`)];
}

/** Checks a denial. Its conditions must not test anything that the denied person could change or hide. */
function checkDenial(denial: Denial, access: Access): readonly AccessFileProblem[] {
  const { user, repository, team, teamId, role, issuer, claims, when, ref, environment, place } = denial;
  const known = issuer === undefined ? undefined : findIssuer(issuer, access);
  const kind = known && 'kind' in known ? known.kind : undefined;
  const login = whyForeignLogin(denial, access);
  const problems: readonly (readonly [boolean, string | undefined])[] = [
    [user !== undefined, 'a login can be renamed to get around this: write user_id (`gh api users/LOGIN --jq .id`)'],
    [
      repository !== undefined,
      'a repository can be renamed to get around this: write repository_id (`gh api repos/OWNER/NAME --jq .id`)',
    ],
    [teamId !== undefined && team === undefined, TEAM_ID_ALONE],
    [
      (team !== undefined && teamId === undefined) || role !== undefined,
      'GitHub hides some teams, and a team can be renamed to get around this: deny by user_id or claims, add team_id to team, or list the allowed people in "who"',
    ],
    [known !== undefined && 'message' in known, known && 'message' in known ? known.message : ''],
    [
      (claims !== undefined || when !== undefined) && !known,
      'claims differ by issuer, and a missing claim counts as denied: add "issuer"',
    ],
    [
      (ref !== undefined || environment !== undefined) && kind !== 'actions',
      'only GitHub Actions attests this reliably: add its "issuer"',
    ],
    [
      kind === 'generic' && needsGithub(denial),
      `issuer "${issuer}" does not attest a GitHub user or repository: use "when" or "claims"`,
    ],
    [login !== undefined, login],
  ];
  const message = problems.find(([applies]) => applies)?.[1];
  return message === undefined ? [] : [problemAt(place, message)];
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
  return { message: `unknown issuer "${name}"${didYouMean(name, known)}; trusted issuers: ${listed}` };
}

/**
 * Returns a problem for each item whose key an earlier one has.
 * @param problem describes the item as a repetition of the earlier one
 */
export function repeated<T>(
  items: readonly T[],
  keyOf: (item: T) => string,
  problem: (item: T, earlier: T) => AccessFileProblem,
): readonly AccessFileProblem[] {
  return [...Map.groupBy(items, keyOf).values()].flatMap(([first, ...others]) =>
    others.map((item) => problem(item, first!)),
  );
}

function checkTargets(grant: Grant): readonly AccessFileProblem[] {
  const twice = repeated(
    grant.to,
    (target) => nameTarget(target).key,
    (target, { place }) =>
      problemAt(target.place, `${nameTarget(target).words} is already in this grant, at ${formatPlace(place)}`),
  );
  const operations = grant.to.flatMap((target) =>
    repeated(target.allow ?? [], formatOperation, () =>
      problemAt(target.place, `${nameTarget(target).words} allows an operation twice`),
    ),
  );
  return [...twice, ...operations];
}

/** Returns a key that is unique among the targets of a grant, and a description of the target. */
function nameTarget({ service, namespace, namespaceLabels, labels, host, port }: GrantTarget) {
  const key = JSON.stringify([service, namespace, host, port, sorted(namespaceLabels), sorted(labels)]);
  const selected = host ?? `${service ?? '*'}.${namespace ?? '*'}`;
  return { key, words: `${selected}:${port}` };
}

function sorted(labels: Readonly<Record<string, string>> | undefined): unknown {
  return labels && Object.entries(labels).sort();
}

// Checks of `operators` and `signIn`. Operators must be able to sign in, and no one may get a role by accident.

/** Checks `operators` and returns all problems, in no particular order. */
function checkOperators(access: Access): readonly AccessFileProblem[] {
  const { operators } = access;
  if (!operators) return [];
  const { roles, serviceAccounts } = operators;
  const entries = OPERATOR_ROLES.flatMap((role) => roles[role].map((who) => ({ role, who })));
  return [
    ...entries.flatMap(({ role, who }) => checkEntry(role, who, access)),
    ...repeated(
      serviceAccounts,
      ({ namespace, name }) => `${namespace}/${name}`,
      ({ namespace, name, place }) => problemAt(place, `${namespace}/${name} is already in "serviceAccounts"`),
    ),
  ];
}

/** The fields that can be matched against an operator's ID token. */
const KNOWN = new Set(['place', 'issuer', 'claims', 'when']);

/** Issuer names that the audit log uses for callers other than people. */
const TAKEN: ReadonlyMap<string, string> = new Map([
  ['kubernetes', 'ServiceAccounts'],
  ['break-glass', 'the operator token'],
]);

function checkEntry(role: string, who: Who, access: Access): readonly AccessFileProblem[] {
  const problem = (message: string) => [problemAt(who.place, message)];
  const foreign = Object.keys(who).find((member) => !KNOWN.has(member));
  if (foreign !== undefined)
    return problem(
      `operators sign in with an OpenID Connect issuer, which does not attest "${KEYS[foreign] ?? foreign}": use "claims" or "when"`,
    );
  if (who.issuer === undefined)
    return problem('add "issuer": the same claim can mean something different at another issuer');
  if (who.issuer === 'github')
    return problem('operators cannot sign in with GitHub: use an issuer from trust.issuers that sets "signIn"');
  const unable = whyNoSignIn(who.issuer, access);
  if (unable !== undefined) return problem(unable);
  if (TAKEN.has(who.issuer))
    return problem(
      `the audit log uses the name "${who.issuer}" for ${TAKEN.get(who.issuer)}: rename this issuer in trust.issuers`,
    );
  if (who.claims === undefined && who.when === undefined)
    return problem(`everyone who can sign in at "${who.issuer}" would be ${role}: add "claims" or "when"`);
  const login = whyForeignLogin(who, access);
  return login === undefined ? [] : problem(login);
}

/** The keys of entries as they are spelled in the file. */
const KEYS: Readonly<Record<string, string>> = {
  userId: 'user_id',
  teamId: 'team_id',
  repositoryId: 'repository_id',
};

// Checks of expressions that use `login`, which must be a GitHub login. At other issuers, it is part of an email
// address or chosen by the user, so no decision may depend on it.

const INSTEAD = 'compare claims.sub, or claims.email if email_verified is true';

/** Explains that an entry uses `login` even though no GitHub user is attested. Returns undefined if it does not. */
function whyForeignLogin(who: Who, access: Access): string | undefined {
  const { signedIn, when } = who;
  const issuer = looksAtLogin(signedIn?.when)
    ? signedIn?.issuer
    : looksAtLogin(when)
      ? issuerWithoutGithub(who, access)
      : undefined;
  return issuer === undefined ? undefined : `"login" is a GitHub login, which "${issuer}" does not attest: ${INSTEAD}`;
}

type Acts = 'approve' | 'take a grant in an emergency' | 'review';

/**
 * Lists the people who act on requests for a grant. If no reviewers are listed, the approvers are also the reviewers.
 */
function actingPeople({ approval }: Grant): readonly { readonly who: Who; readonly acts: Acts }[] {
  if (!approval) return [];
  const { by, emergency } = approval;
  const review = emergency && emergency.review !== by ? emergency.review : [];
  return [
    ...by.map((who) => ({ who, acts: 'approve' as const })),
    ...(emergency?.who ?? []).map((who) => ({ who, acts: 'take a grant in an emergency' as const })),
    ...review.map((who) => ({ who, acts: 'review' as const })),
  ];
}

function looksAtLogin(when: string | undefined): boolean {
  const read = when === undefined ? undefined : readExpression(when);
  return read !== undefined && 'value' in read && read.value.variables.has('login');
}

/**
 * Returns the generic issuer that an entry applies to. If the entry does not name an issuer, this is the first trusted
 * one, unless Codespaces or GitHub Actions are also trusted.
 */
function issuerWithoutGithub({ issuer: named }: Who, { trust: { codespaces, issuers } }: Access): string | undefined {
  const generic = issuers.filter(({ kind }) => kind === 'generic');
  if (named !== undefined) return generic.find(({ name }) => name === named)?.name;
  return codespaces || generic.length < issuers.length ? undefined : generic[0]?.name;
}

// Finds operations that are denied, or that require claims, where another spelling of the path would bypass this. A
// server may return the same resource for many spellings (`//`, `;x`, `%20`, different case), but Envoy only compares
// one of them. The path must therefore cover every allowed path that it overlaps.

const EVERYTHING: readonly Operation[] = [{ method: '*', path: '/*' }];

/**
 * Returns a problem for each operation in `deny`, or with its own `require`, that is narrower than an operation in
 * `allow`.
 */
function checkDeniedPaths({ allow = EVERYTHING, deny = [], place }: GrantTarget): readonly AccessFileProblem[] {
  const problem = (what: string, { path, method }: Operation): AccessFileProblem => {
    const wider = formatOperation({ method, path });
    const message =
      `${what} has no effect on other spellings of the path, such as // or ;x, which ${JSON.stringify(wider)} allows. ` +
      `List only the intended operations in "allow", or use ${path} as a whole`;
    return problemAt(place, message);
  };
  const denied = deny.flatMap((one) => {
    const wider = allow.find((other) => isWider(other, one));
    return wider ? [problem(`deny ${JSON.stringify(formatOperation(one))}`, wider)] : [];
  });
  const required = allow.flatMap((one) => {
    const demands = JSON.stringify(one.require);
    const wider =
      one.require && allow.find((other) => JSON.stringify(other.require) !== demands && isWider(other, one));
    return wider ? [problem(`"require" of ${JSON.stringify(formatOperation(one))}`, wider)] : [];
  });
  return [...denied, ...required];
}

/** Whether an allowed operation overlaps with this one and also matches other paths. */
function isWider(allowed: Operation, part: Operation): boolean {
  return meet(part.method, allowed.method) && !covers(part.path, allowed.path) && !areApart(part.path, allowed.path);
}

function meet(one: string, other: string): boolean {
  return one === other || one === '*' || other === '*';
}

/** Whether a path pattern matches everything that another one matches. */
function covers(wide: string, narrow: string): boolean {
  return wide === narrow || (isPrefix(wide) && headOf(narrow).startsWith(headOf(wide)));
}

/** Whether two patterns have no path in common. */
function areApart(one: string, other: string): boolean {
  const [a, b] = [headOf(one), headOf(other)];
  if (isExact(one) && isExact(other)) return one !== other;
  if (isExact(one)) return !a.startsWith(b);
  if (isExact(other)) return !b.startsWith(a);
  return !a.startsWith(b) && !b.startsWith(a);
}

function isExact(path: string): boolean {
  return !/[*{]/.test(path);
}

/** Whether a path is a prefix pattern such as `/orders/*` without any templates. */
function isPrefix(path: string): boolean {
  return path.endsWith('*') && !path.includes('{');
}

/** Returns the part of a path before its first wildcard or template. */
function headOf(path: string): string {
  return path.split(/[*{]/)[0]!;
}
