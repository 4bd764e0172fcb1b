/** An identity provider at which people sign in: real keys, discovery and key set, and tokens as a test wants them. */
import type { Access } from '@meshpass/access';
import { dpopThumbprint } from '@meshpass/identity';
import { signInNonce } from '@meshpass/identity/sign-in';
import { decodeJwt, exportJWK, generateKeyPair, type JWTPayload, SignJWT } from 'jose';
import { createSignInVerifier } from '../../src/attest/attest.ts';
import { createIssuerKeys, type IssuerKeys } from '../../src/issuers/oidc/issuer-keys.ts';
import { createLogoutVerifier } from '../../src/issuers/oidc/logout-token.ts';
import { attestOidc } from '../../src/issuers/oidc/oidc.ts';
import type { BrokerParts } from '../../src/start/serve.ts';
import {
  type Answer,
  asSession,
  type Call,
  dpop,
  type Enrolled,
  EXCHANGE,
  FORM,
  form,
  type Harness,
  ID_TOKEN,
  newKey,
} from './broker.ts';
import type { PlayedIdp } from './idp.ts';

export const OKTA = 'https://acme.okta.example';
export const CLIENT = 'meshpass-workspaces';
export const LOGOUT = 'http://schemas.openid.net/event/backchannel-logout';

export const ACCESS = (who: string, signIn = '') => `trust:
  issuers:
    idp: {issuer: 'https://idp.example', audience: meshpass}
    okta: {issuer: '${OKTA}', audience: meshpass, signIn: {client: ${CLIENT}${signIn}}}
grants:
  open: {who: [{issuer: idp}], to: [{service: catalog.shop, port: 80}]}
  both: {who: [${who}], to: [{service: orders.shop, port: 80}]}`;

export interface SignInProvider {
  readonly parts: (idp: PlayedIdp, access: () => Access, clock: () => number) => Partial<BrokerParts>;
  /** Public keys, for operators who sign in there. */
  readonly keys: (clock: () => number) => IssuerKeys;
  /** An ID token as this provider signs it. */
  readonly sign: (claims: JWTPayload, header?: Record<string, unknown>) => Promise<string>;
  /** Signs with a foreign key. */
  readonly forge: (claims: JWTPayload) => Promise<string>;
}

export async function signInProvider(): Promise<SignInProvider> {
  const keys = await generateKeyPair('ES256');
  const other = await generateKeyPair('ES256');
  const jwks = { keys: [{ ...(await exportJWK(keys.publicKey)), kid: 'one', alg: 'ES256' }] };
  const answers: Record<string, unknown> = {
    [`${OKTA}/.well-known/openid-configuration`]: { issuer: OKTA, jwks_uri: `${OKTA}/keys` },
    [`${OKTA}/keys`]: jwks,
  };
  const fetch = async (url: unknown) => Response.json(answers[String(url)] ?? {});
  const keysOf = (clock: () => number) => createIssuerKeys({ fetch: fetch as never, timeoutMs: 1_000, clock });
  return {
    keys: keysOf,
    parts: (idp, access, clock) => {
      const oidc = { keys: keysOf(clock), clock };
      return {
        // A Codespace's proof is not for one use: so are those of this subject.
        attest: async (proof, presenter) => {
          const { iss, sub } = decodeJwt(proof.token);
          if (iss === OKTA && proof.type === 'oidc')
            return attestOidc(proof, access().trust.issuers, oidc, presenter.jkt);
          const { replay, ...attested } = await idp.attest(proof, presenter);
          return { ...attested, ...(replay && !String(sub).startsWith('codespace') && { replay }) };
        },
        attestSignIn: createSignInVerifier({ access, oidc }),
        verifyLogout: createLogoutVerifier({ access, ...oidc }),
      };
    },
    sign: (claims, header) =>
      new SignJWT(claims).setProtectedHeader({ alg: 'ES256', kid: 'one', ...header }).sign(keys.privateKey),
    forge: (claims) => new SignJWT(claims).setProtectedHeader({ alg: 'ES256', kid: 'one' }).sign(other.privateKey),
  };
}

/** Claims of a good ID token for this session. */
export function claimsFor(harness: Harness, who: Pick<Enrolled, 'key'>, more: JWTPayload = {}): JWTPayload {
  const now = harness.now();
  return {
    iss: OKTA,
    aud: CLIENT,
    sub: '00u1',
    iat: now,
    exp: now + 3_600,
    auth_time: now - 10,
    amr: ['pwd', 'mfa'],
    preferred_username: 'alice@acme.com',
    groups: ['payments'],
    nonce: signInNonce(dpopThumbprint(who.key.jwk)),
    ...more,
  };
}

const json = (path: string, body: unknown): Call => ({
  method: 'POST',
  path,
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify(body),
});

export function signIn(harness: Harness, who: Enrolled, idToken: string, issuer = 'okta'): Promise<Answer> {
  return asSession(harness, who, json('/session/sign-in', { issuer, id_token: idToken }));
}

export function signOut(harness: Harness, who: Enrolled, issuer = 'okta'): Promise<Answer> {
  return asSession(harness, who, json('/session/sign-out', { issuer }));
}

export function backChannelLogout(harness: Harness, token: string, issuer = 'okta'): Promise<Answer> {
  const path = `/sign-in/backchannel-logout/${issuer}`;
  return harness.call({ method: 'POST', path, headers: FORM, body: form({ logout_token: token }) });
}

/** Claims of a good logout token. */
export function logoutClaims(harness: Harness, more: JWTPayload = {}): JWTPayload {
  const now = harness.now();
  const events = { [LOGOUT]: {} };
  return { iss: OKTA, aud: CLIENT, sub: '00u1', iat: now, exp: now + 120, jti: crypto.randomUUID(), events, ...more };
}

/** `POST /token` with a proof (the sign-in itself, where absent) and a sign-in for this key. */
export function enrolSignedIn(harness: Harness, key: Enrolled['key'], token: string, proof?: string): Promise<Answer> {
  const both: Record<string, string> = proof === undefined ? {} : { sign_in_issuer: 'okta', sign_in_token: token };
  return harness.call({
    method: 'POST',
    path: '/token',
    headers: { ...FORM, dpop: dpop({ key, now: harness.now() }) },
    body: form({ grant_type: EXCHANGE, subject_token: proof ?? token, subject_token_type: ID_TOKEN, ...both }),
  });
}

/** Grants of the session, by service; undefined if it has ended. */
export async function grantsOf(harness: Harness, who: Enrolled): Promise<readonly string[] | undefined> {
  const { status, json: answer } = await asSession(harness, who, { path: '/services' });
  return status === 200 ? answer.services.map((service: { grant: string }) => service.grant) : undefined;
}

export { newKey };
