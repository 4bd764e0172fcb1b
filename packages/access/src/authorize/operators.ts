/** Which roles of `operators` somebody has. Default deny; nothing is looked up, nothing is remembered. */
import type { Attestation } from '@meshpass/identity';
import type { Place } from '@meshpass/istio';
import type { Access, OperatorRole, SignInClient, TrustedIssuer } from '../model.ts';
import { formatPlace } from '../problem.ts';
import { OPERATOR_ROLES } from '../schema/operators.ts';
import { whyDenied, whyNot } from './who.ts';

export interface OperatorRoles {
  /** Each role that holds, with the first entry that gives it. */
  readonly roles: readonly { readonly role: OperatorRole; readonly place: Place }[];
  /** Why the others do not; for the audit log. */
  readonly refusals: readonly string[];
  /** Nothing is said of their roles: they signed in at another issuer, or with another client, than the file has now. */
  readonly signInAgain?: true;
}

/**
 * Roles of a person who signed in. Whom `deny` of the file names has none.
 * @param attestation of an ID token that was issued to the issuer's client of operators (`signIn`)
 * @example
 * ```ts
 * import { operatorRoles, parseAccess } from '@meshpass/access';
 * const access = parseAccess(`
 * trust: {issuers: {okta: {issuer: https://acme.okta.com, audience: meshpass, signIn: {client: cli}}}}
 * operators: {viewer: [{issuer: okta, claims: {groups: dev}}]}
 * grants: {}`, 'access.yaml');
 * const claims = { iss: 'https://acme.okta.com', aud: 'cli', groups: ['dev'] };
 * const mona = {
 *   ...{ attestor: 'oidc' as const, issuer: 'okta', subject: 'okta:00u1', login: 'mona', teams: [], claims },
 *   workspace: { kind: 'other' as const, key: 'other:okta:00u1', name: 'mona' },
 *   proofHash: 'a'.repeat(64),
 * };
 * operatorRoles(mona, access).roles.map(({ role }) => role); // => ['viewer']
 * ```
 */
export function operatorRoles(attestation: Attestation, access: Access): OperatorRoles {
  const { operators, trust, deny = [] } = access;
  if (!operators) return { roles: [], refusals: ['the access file has no "operators"'] };
  const issuer = trust.issuers.find(({ name }) => name === attestation.issuer);
  // Another issuer may have come under the name, or another client.
  const isSame = issuer?.signIn !== undefined && issuer.issuer === attestation.claims.iss;
  if (!isSame || !isFor(attestation.claims.aud, operatorClientOf(issuer.signIn!)))
    return {
      ...{ roles: [], signInAgain: true },
      refusals: [`the access file no longer has operators sign in at ${attestation.issuer} like this`],
    };
  for (const denial of deny) {
    const why = whyDenied(denial, attestation, 'generic');
    if (why !== undefined) return { roles: [], refusals: [`${formatPlace(denial.place)} denied: ${why}`] };
  }
  const refusals: string[] = [];
  const roles = OPERATOR_ROLES.flatMap((role) => {
    const match = operators.roles[role].find((who) => {
      const failure = whyNot(who, attestation, 'generic');
      if (failure) refusals.push(`${role}: ${formatPlace(who.place)} ${failure}`);
      return !failure;
    });
    return match ? [{ role, place: match.place }] : [];
  });
  return { roles, refusals };
}

/**
 * Roles of a Kubernetes ServiceAccount.
 * @example
 * ```ts
 * import { parseAccess, serviceAccountRoles } from '@meshpass/access';
 * const access = parseAccess(`
 * trust: {}
 * operators: {serviceAccounts: [{serviceAccount: ci/reporter, roles: [viewer]}]}
 * grants: {}`, 'access.yaml');
 * serviceAccountRoles('ci', 'reporter', access).roles.map(({ role }) => role); // => ['viewer']
 * serviceAccountRoles('ci', 'other', access).roles; // => []
 * ```
 */
export function serviceAccountRoles(namespace: string, name: string, access: Access): OperatorRoles {
  const entry = access.operators?.serviceAccounts.find((one) => one.namespace === namespace && one.name === name);
  if (!entry) return { roles: [], refusals: [`"operators.serviceAccounts" does not name ${namespace}/${name}`] };
  const { place } = entry;
  return {
    roles: OPERATOR_ROLES.filter((role) => entry.roles.includes(role)).map((role) => ({ role, place })),
    refusals: [],
  };
}

/**
 * With which client operators sign in; the only `aud` of their ID tokens.
 * @example
 * ```ts
 * import { operatorClientOf, parseAccess } from '@meshpass/access';
 * const of = (signIn: string) => {
 *   const okta = `okta: {issuer: https://acme.okta.com, audience: meshpass, signIn: {${signIn}}}`;
 *   const { trust } = parseAccess(`{trust: {issuers: {${okta}}}, grants: {}}`, 'access.yaml');
 *   return operatorClientOf(trust.issuers[0]!.signIn!);
 * };
 * of('client: cli'); // => 'cli'
 * of('client: cli, operatorClient: ops'); // => 'ops'
 * ```
 */
export function operatorClientOf({ client, operatorClient = client }: SignInClient): string {
  return operatorClient;
}

/**
 * Whether operators of an issuer may have another `sub` than in their workspaces: then nothing shows that two sign-ins are of one person,
 * and they approve nothing.
 */
export function hidesPeople({ signIn }: TrustedIssuer): boolean {
  return signIn?.operatorClient !== undefined && signIn.subjectType !== 'public';
}

/** Whether somebody came as an operator whom nothing tells from whoever has asked for something in a workspace. */
export function isHidden({ issuer: name, claims }: Attestation, { trust }: Pick<Access, 'trust'>): boolean {
  const issuer = trust.issuers.find((one) => one.name === name);
  return issuer?.signIn !== undefined && hidesPeople(issuer) && isFor(claims.aud, operatorClientOf(issuer.signIn));
}

function isFor(aud: unknown, client: string): boolean {
  return Array.isArray(aud) ? aud.includes(client) : aud === client;
}
