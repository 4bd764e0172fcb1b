/** What entries of `operators` and `signIn` mean: who signs in where, and that nobody has a role by accident. */
import { didYouMean } from '@meshpass/istio';
import type { Access, Operators, Who } from '../model.ts';
import type { AccessFileProblem } from '../problem.ts';
import { OPERATOR_ROLES } from '../schema/operators.ts';

/** @returns every finding of `operators`, in no particular order */
export function checkOperators(access: Access): readonly AccessFileProblem[] {
  const { operators } = access;
  if (!operators) return [];
  const { roles, serviceAccounts } = operators;
  const entries = OPERATOR_ROLES.flatMap((role) => roles[role].map((who) => ({ role, who })));
  return [
    ...checkSecondPerson(operators),
    ...entries.flatMap(({ role, who }) => checkEntry(role, who, access)),
    ...serviceAccounts.flatMap(({ namespace, name, place }, index): AccessFileProblem[] =>
      serviceAccounts.slice(0, index).some((other) => other.namespace === namespace && other.name === name)
        ? [{ code: 'access_file_invalid', place, message: `${namespace}/${name} stands in "serviceAccounts" already` }]
        : [],
    ),
  ];
}

/**
 * A list that no two admins can serve locks everybody out: from then on a change of `operators` needs two, and the file on disk is
 * ignored once a file was applied. Two people are told apart by their subject at one issuer.
 */
function checkSecondPerson({ roles: { admin }, place }: Operators): readonly AccessFileProblem[] {
  if (!place || admin.some(({ issuer }) => peopleAt(issuer, admin) > 1)) return [];
  const message =
    '"secondPerson" needs two people who may be "admin" at one issuer, and "admin" names fewer: nobody could change "operators" any more. ' +
    'Name another one, or the claim of a group';
  return [{ code: 'access_file_invalid', place, message }];
}

/** How many these entries can name; infinitely many where one of them does not list them by subject. */
function peopleAt(issuer: string | undefined, entries: readonly Who[]): number {
  const subjects = entries.filter((one) => one.issuer === issuer).map(({ claims }) => claims?.sub);
  if (subjects.some((values) => values === undefined)) return Number.POSITIVE_INFINITY;
  return new Set(subjects.flat()).size;
}

/** What an operator signs in with says nothing else. */
const KNOWN = new Set(['place', 'issuer', 'claims', 'when']);

/** What callers are named by that are no people. */
const TAKEN: ReadonlyMap<string, string> = new Map([
  ['kubernetes', 'ServiceAccounts'],
  ['break-glass', 'the operator token'],
]);

function checkEntry(role: string, who: Who, { trust: { issuers } }: Access): readonly AccessFileProblem[] {
  const problem = (message: string): readonly AccessFileProblem[] => [
    { code: 'access_file_invalid', place: who.place, message },
  ];
  const foreign = Object.keys(who).find((member) => !KNOWN.has(member));
  if (foreign !== undefined)
    return problem(
      `operators sign in with an OpenID Connect issuer, which does not attest "${KEYS[foreign] ?? foreign}": use "claims" or "when"`,
    );
  if (who.issuer === undefined) return problem('say "issuer": the same claim means something else at another issuer');
  const issuer = issuers.find(({ name }) => name === who.issuer);
  const able = issuers.filter(({ signIn }) => signIn !== undefined).map(({ name }) => name);
  if (!issuer)
    return problem(
      who.issuer === 'github'
        ? 'operators cannot sign in with GitHub yet: name an issuer of trust.issuers that has "signIn"'
        : `unknown issuer "${who.issuer}"${didYouMean(who.issuer, able)}; issuers with "signIn": ${able.join(', ') || 'none'}`,
    );
  if (!issuer.signIn)
    return problem(
      `nobody can sign in at "${who.issuer}": set trust.issuers.${who.issuer}.signIn with its public OAuth client`,
    );
  if (TAKEN.has(who.issuer))
    return problem(
      `rows of the audit log say "${who.issuer}" of ${TAKEN.get(who.issuer)}: give this issuer of trust.issuers another name`,
    );
  return who.claims === undefined && who.when === undefined
    ? problem(`everybody who can sign in at "${who.issuer}" would be ${role}: add "claims" or "when"`)
    : [];
}

/** As the file has them. */
const KEYS: Readonly<Record<string, string>> = {
  userId: 'user_id',
  teamId: 'team_id',
  repositoryId: 'repository_id',
};
