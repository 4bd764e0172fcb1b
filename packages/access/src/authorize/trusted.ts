/**
 * Checks whether the ID token behind an attestation or a sign-in comes from an issuer and client in the current access
 * file. It is not enough to compare the issuer's name, because the file may now use that name for a different issuer or
 * client.
 */
import type { Attestation, SignIn } from '@meshpass/identity';
import type { SignInClient, Trust, TrustedIssuer } from '../model.ts';
import type { Kind } from './who.ts';

/** The kind of an attestation's issuer if it is trusted, or the reason why it is not. */
export type TrustDecision = { readonly kind: Kind } | { readonly untrusted: string };

/** Checks the proof or sign-in that a workspace used to open its session. */
export function checkWorkspaceTrust(attestation: Attestation, trust: Trust): TrustDecision {
  return trusted(attestation, trust, ({ audience, signIn }) =>
    attestation.provenBySignIn ? [signIn?.client] : [audience],
  );
}

/**
 * Explains why the access file does not trust the issuer of a workspace session.
 * @returns the reason as a sentence, or undefined if the issuer is trusted
 * @example
 * ```ts
 * import { parseAccess, whyUntrusted } from '@meshpass/access';
 * import type { Attestation } from '@meshpass/identity';
 * const { trust } = parseAccess(`
 * trust: {issuers: {gitlab: {issuer: https://gitlab.com, audience: meshpass}}}
 * grants: {}`, 'access.yaml');
 * const job: Attestation = {
 *   attestor: 'oidc', issuer: 'gitlab', subject: 'gitlab:1', login: 'alice', teams: [], proofHash: 'a'.repeat(64),
 *   claims: { iss: 'https://gitlab.com', aud: 'another' },
 *   workspace: { kind: 'other', key: 'gitlab:1', name: 'job' },
 * };
 * whyUntrusted(job, trust);
 * // => 'The access file now has a different issuer or client named gitlab.'
 * ```
 */
export function whyUntrusted(attestation: Attestation, trust: Trust): string | undefined {
  const found = checkWorkspaceTrust(attestation, trust);
  return 'untrusted' in found ? found.untrusted : undefined;
}

/**
 * Checks the issuer of a person, who may have used any client: a workspace, a webhook that acts on their behalf, or an
 * operator sign-in.
 */
export function checkClientTrust(attestation: Attestation, trust: Trust): TrustDecision {
  return trusted(attestation, trust, ({ audience, signIn }) => [
    audience,
    signIn?.client,
    signIn && operatorClientOf(signIn),
  ]);
}

/**
 * Whether a sign-in is still valid under this access file. Its ID token must come from the issuer and client that the
 * file currently lists under the issuer's name.
 * @example
 * ```ts
 * import { isSignInTrusted, parseAccess } from '@meshpass/access';
 * const { trust } = parseAccess(`
 * trust: {issuers: {okta: {issuer: https://acme.okta.com, audience: meshpass, signIn: {client: cli}}}}
 * grants: {}`, 'access.yaml');
 * const claims = { iss: 'https://acme.okta.com', aud: 'cli' };
 * isSignInTrusted({ issuer: 'okta', claims }, trust); // => true
 * isSignInTrusted({ issuer: 'okta', claims: { ...claims, aud: 'another' } }, trust); // => false
 * ```
 */
export function isSignInTrusted(signIn: Pick<SignIn, 'issuer' | 'claims'>, trust: Trust): boolean {
  return isOfClient(signIn, trust, ({ client }) => client);
}

/**
 * Whether an operator signed in at the issuer and with the client that the access file lists under the issuer's name.
 */
export function isOperatorTrusted(attestation: Attestation, trust: Trust): boolean {
  return isOfClient(attestation, trust, operatorClientOf);
}

/**
 * Returns the client that operators use to sign in. It is the only `aud` that their ID tokens may have.
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

function trusted(
  { attestor, issuer: name, claims }: Attestation,
  { codespaces, issuers }: Trust,
  audiences: (issuer: TrustedIssuer) => readonly (string | undefined)[],
): TrustDecision {
  if (attestor === 'github-codespace')
    return name === 'github' && codespaces
      ? { kind: 'codespace' }
      : { untrusted: 'The access file no longer trusts Codespaces.' };
  const issuer = issuers.find((one) => one.name === name);
  if (!issuer) return { untrusted: `The access file no longer trusts the issuer ${name}.` };
  return isOf(claims, issuer, audiences(issuer))
    ? { kind: issuer.kind }
    : {
        untrusted: `The access file now has a different issuer or client named ${name}.`,
      };
}

function isOfClient(
  { issuer: name, claims }: Pick<SignIn, 'issuer' | 'claims'>,
  { issuers }: Trust,
  clientOf: (signIn: SignInClient) => string,
): boolean {
  const issuer = issuers.find((one) => one.name === name);
  return issuer?.signIn !== undefined && isOf(claims, issuer, [clientOf(issuer.signIn)]);
}

/**
 * Whether a token belongs to an issuer and one of the audiences. `iss` must match exactly, and `aud` must contain at
 * least one of the audiences (OpenID Connect Core section 3.1.3.7).
 */
function isOf(
  { iss, aud }: Attestation['claims'],
  { issuer }: TrustedIssuer,
  audiences: readonly (string | undefined)[],
): boolean {
  const values: readonly unknown[] = Array.isArray(aud) ? aud : [aud];
  return iss === issuer && audiences.some((one) => one !== undefined && values.includes(one));
}
