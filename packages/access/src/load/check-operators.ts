/** Checks `operators` and `signIn`: operators must be able to sign in, and no one may get a role by accident. */
import { didYouMean } from '@meshpass/istio';
import { type Access, OPERATOR_ROLES, type Who } from '../model.ts';
import { type AccessFileProblem, problemAt } from '../problem.ts';

/** @returns every finding in `operators`, in no particular order */
export function checkOperators(access: Access): readonly AccessFileProblem[] {
  const { operators } = access;
  if (!operators) return [];
  const { roles, serviceAccounts } = operators;
  const entries = OPERATOR_ROLES.flatMap((role) => roles[role].map((who) => ({ role, who })));
  return [
    ...entries.flatMap(({ role, who }) => checkEntry(role, who, access)),
    ...serviceAccounts.flatMap(({ namespace, name, place }, index): AccessFileProblem[] =>
      serviceAccounts.slice(0, index).some((other) => other.namespace === namespace && other.name === name)
        ? [problemAt(place, `${namespace}/${name} is already in "serviceAccounts"`)]
        : [],
    ),
  ];
}

/** Fields that an operator's ID token can support. */
const KNOWN = new Set(['place', 'issuer', 'claims', 'when']);

/** Issuer names that the audit log uses for callers that are not people. */
const TAKEN: ReadonlyMap<string, string> = new Map([
  ['kubernetes', 'ServiceAccounts'],
  ['break-glass', 'the operator token'],
]);

function checkEntry(role: string, who: Who, { trust: { issuers } }: Access): readonly AccessFileProblem[] {
  const problem = (message: string) => [problemAt(who.place, message)];
  const foreign = Object.keys(who).find((member) => !KNOWN.has(member));
  if (foreign !== undefined)
    return problem(
      `operators sign in with an OpenID Connect issuer, which does not attest "${KEYS[foreign] ?? foreign}": use "claims" or "when"`,
    );
  if (who.issuer === undefined)
    return problem('add "issuer": the same claim can mean something different at another issuer');
  const issuer = issuers.find(({ name }) => name === who.issuer);
  const able = issuers.filter(({ signIn }) => signIn !== undefined).map(({ name }) => name);
  if (!issuer)
    return problem(
      who.issuer === 'github'
        ? 'operators cannot sign in with GitHub: use an issuer from trust.issuers that sets "signIn"'
        : `unknown issuer "${who.issuer}"${didYouMean(who.issuer, able)}; issuers with "signIn": ${able.join(', ') || 'none'}`,
    );
  if (!issuer.signIn)
    return problem(
      `people cannot sign in at "${who.issuer}": set trust.issuers.${who.issuer}.signIn.client to its public OAuth client`,
    );
  if (TAKEN.has(who.issuer))
    return problem(
      `the audit log uses the name "${who.issuer}" for ${TAKEN.get(who.issuer)}: rename this issuer in trust.issuers`,
    );
  return who.claims === undefined && who.when === undefined
    ? problem(`everyone who can sign in at "${who.issuer}" would be ${role}: add "claims" or "when"`)
    : [];
}

/** Keys as written in the file. */
const KEYS: Readonly<Record<string, string>> = {
  userId: 'user_id',
  teamId: 'team_id',
  repositoryId: 'repository_id',
};
