/**
 * Checks uses of `login` in expressions, which must be a GitHub login. The name from another issuer is part of an email
 * address or chosen by the user, so no decision may depend on it.
 */
import type { Access, Grant, Who } from '../model.ts';
import { type AccessFileProblem, problemAt } from '../problem.ts';
import { readExpression } from '../schema/expression.ts';

const INSTEAD = 'compare claims.sub, or claims.email if email_verified is true';

/** @returns a finding for each entry in any list that uses `login` although no GitHub user is attested */
export function checkLogin(access: Access): readonly AccessFileProblem[] {
  return entriesOf(access).flatMap((who): AccessFileProblem[] => {
    const issuer = looksAtLogin(who.signedIn?.when)
      ? who.signedIn!.issuer
      : looksAtLogin(who.when)
        ? issuerWithoutGithub(who, access)
        : undefined;
    if (issuer === undefined) return [];
    const message = `"login" is a GitHub login, which "${issuer}" does not attest: ${INSTEAD}`;
    return [problemAt(who.place, message)];
  });
}

/** Lists all entries with the form of `who`. */
function entriesOf({ deny = [], operators, grants }: Access): readonly Who[] {
  return [
    ...deny,
    ...Object.values(operators?.roles ?? {}).flat(),
    ...grants.flatMap((grant) => [...grant.who, ...(grant.except ?? []), ...actingPeople(grant).map(({ who }) => who)]),
  ];
}

export type Acts = 'approve' | 'take a grant in an emergency' | 'review';

/** Lists the people who act on requests for a grant. If the file lists no reviewers, the approvers review. */
export function actingPeople({ approval }: Grant): readonly { readonly who: Who; readonly acts: Acts }[] {
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

/** Returns an entry's generic issuer, or the only trusted issuer. */
function issuerWithoutGithub({ issuer: named }: Who, { trust: { codespaces, issuers } }: Access): string | undefined {
  const generic = issuers.filter(({ kind }) => kind === 'generic');
  if (named !== undefined) return generic.find(({ name }) => name === named)?.name;
  return codespaces || generic.length < issuers.length ? undefined : generic[0]?.name;
}
