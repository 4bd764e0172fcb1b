/** Decides which roles operators have. The decision is a pure function that denies by default. */
import type { Attestation } from '@meshpass/identity';
import type { Place } from '@meshpass/istio';
import { type Access, OPERATOR_ROLES, type OperatorRole, type TrustedIssuer } from '../model.ts';
import { formatPlace } from '../problem.ts';
import { withinBudget } from '../schema/work.ts';
import { isOperatorTrusted } from './trusted.ts';
import { whyAnyDenied, whyEntryMismatch } from './who.ts';

export interface OperatorRoles {
  /** The roles that match, each with the first entry that assigns it. */
  readonly roles: readonly { readonly role: OperatorRole; readonly place: Place }[];
  /** The reasons why the other roles do not match, for the audit log. */
  readonly refusals: readonly string[];
  /**
   * Set if the operator must sign in again because the file now lists a different issuer or client. Until they do,
   * their roles are unknown.
   */
  readonly signInAgain?: true;
}

/**
 * Returns the roles of a person who has signed in. A person who matches an entry of `deny` has no roles.
 * @param attestation the attestation of an ID token for the issuer's operator client (`signIn`)
 * @example
 * ```ts
 * import { operatorRoles, parseAccess } from '@meshpass/access';
 * const access = parseAccess(`
 * trust: {issuers: {okta: {issuer: https://acme.okta.com, audience: meshpass, signIn: {client: cli}}}}
 * operators: {viewer: [{issuer: okta, claims: {groups: dev}}]}
 * grants: {}`, 'access.yaml');
 * const claims = { iss: 'https://acme.okta.com', aud: 'cli', groups: ['dev'] };
 * const mona = {
 *   attestor: 'oidc' as const, issuer: 'okta', subject: 'okta:00u1', login: 'mona', teams: [], claims,
 *   workspace: { kind: 'other' as const, key: 'other:okta:00u1', name: 'mona' },
 *   proofHash: 'a'.repeat(64),
 * };
 * operatorRoles(mona, access).roles.map(({ role }) => role); // => ['viewer']
 * ```
 */
export const operatorRoles = withinBudget(decideRoles);

function decideRoles(attestation: Attestation, access: Access): OperatorRoles {
  const { operators, trust, deny } = access;
  if (!operators) return { roles: [], refusals: ['the access file has no "operators"'] };
  if (!isOperatorTrusted(attestation, trust))
    return {
      roles: [],
      signInAgain: true,
      refusals: [`the access file no longer accepts operator sign-ins at ${attestation.issuer}`],
    };
  const denied = whyAnyDenied(deny, attestation, 'generic');
  if (denied !== undefined) return { roles: [], refusals: [denied] };
  const refusals: string[] = [];
  const roles = OPERATOR_ROLES.flatMap((role) => {
    const match = operators.roles[role].find((who) => {
      const failure = whyEntryMismatch(who, attestation, 'generic');
      if (failure) refusals.push(`${role}: ${formatPlace(who.place)} ${failure}`);
      return !failure;
    });
    return match ? [{ role, place: match.place }] : [];
  });
  return { roles, refusals };
}

/**
 * Returns the roles of a Kubernetes ServiceAccount.
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
  if (!entry) return { roles: [], refusals: [`"operators.serviceAccounts" does not list ${namespace}/${name}`] };
  const { place } = entry;
  return {
    roles: OPERATOR_ROLES.filter((role) => entry.roles.includes(role)).map((role) => ({ role, place })),
    refusals: [],
  };
}

/**
 * Whether an issuer may use a different `sub` for operators than for workspaces. If so, the two sign-ins of a person
 * cannot be matched, so the operators of this issuer cannot approve requests.
 */
export function mayUsePairwiseSubjects({ signIn }: TrustedIssuer): boolean {
  return signIn?.operatorClient !== undefined && signIn.subjectType !== 'public';
}

/**
 * Whether an operator might be the person who made a request from a workspace, because the two identities cannot be
 * compared.
 */
export function mayBeRequester(attestation: Attestation, { trust }: Pick<Access, 'trust'>): boolean {
  const issuer = trust.issuers.find(({ name }) => name === attestation.issuer);
  return issuer !== undefined && mayUsePairwiseSubjects(issuer) && isOperatorTrusted(attestation, trust);
}
