/** People who operate the broker: they sign in as `meshpass login` does, and their requests are proven like its. */

import type { OperatorRole, Operators } from '@meshpass/access';
import { OPERATOR_ROLES } from '@meshpass/access';
import { type DpopKey, dpopThumbprint, operatorNonce } from '@meshpass/identity';
import type { JWTPayload } from 'jose';
import { createLogoutVerifier } from '../../src/issuers/oidc/logout-token.ts';
import {
  type Answer,
  type Call,
  dpop,
  EXCHANGE,
  FORM,
  form,
  type Harness,
  type HarnessOptions,
  ID_TOKEN,
  newKey,
  startHarness,
} from './broker.ts';
import { grant } from './mesh.ts';

export const OPERATOR_CLIENT = 'meshpass-operators';

const place = (line: number) => ({ file: 'access.yaml', line, column: 7 });

/** Each role belongs to the group of its name. */
export function operatorsByGroup(more: Partial<Operators> = {}): Operators {
  const entries = OPERATOR_ROLES.map((role, index) => {
    const who = { place: place(index + 10), issuer: 'idp', claims: { groups: [role] } };
    return [role, [who]] as const;
  });
  const roles = Object.fromEntries(entries) as unknown as Operators['roles'];
  return { roles, serviceAccounts: [], session: 3600, deviceFlow: false, ...more };
}

/** Starts a broker whose access file gives each operator role to the group of its name. */
export async function startWithOperators(options?: HarnessOptions): Promise<Harness> {
  const harness = await startHarness(options);
  harness.mesh.setAccess([grant('dev')]);
  harness.mesh.setOperators(operatorsByGroup());
  return harness;
}

export interface SignedIn {
  readonly key: DpopKey;
  /** Replaced by each confirmation. */
  token: string;
  readonly subject: string;
}

export interface SignInOptions {
  readonly key?: DpopKey;
  /** Override the claims of a sign-in with this key. */
  readonly claims?: JWTPayload;
  /** Replaces the ID token of this person. */
  readonly token?: string;
  readonly tokenType?: string;
}

/** Calls `POST /operator/session` as a person in these groups. */
export async function exchange(
  harness: Harness,
  subject: string,
  groups: readonly string[],
  { key = newKey(), claims = {}, token, tokenType = ID_TOKEN }: SignInOptions = {},
): Promise<Answer> {
  const proof = token ?? (await harness.idp.prove(subject, { ...personClaims(harness, key, groups), ...claims }));
  return await harness.operatorCall({
    method: 'POST',
    path: '/operator/session',
    headers: { ...FORM, dpop: dpop({ key, path: '/operator/session', now: harness.now() }) },
    body: form({ grant_type: EXCHANGE, subject_token: proof, subject_token_type: tokenType }),
  });
}

/** Claims of the ID token of a sign-in with this key, at the time of the harness. */
export function personClaims(harness: Harness, key: DpopKey, groups: readonly string[]): JWTPayload {
  const now = harness.now();
  const nonce = operatorNonce(dpopThumbprint(key.jwk));
  return { aud: OPERATOR_CLIENT, nonce, groups: [...groups], iat: now, exp: now + 300 };
}

/** Signs in a person whose groups have these roles. */
export async function signIn(harness: Harness, subject: string, roles: readonly OperatorRole[]): Promise<SignedIn> {
  const key = newKey();
  const answer = await exchange(harness, subject, roles, { key });
  if (answer.status !== 200) throw new Error(`signing in answered ${answer.status} ${answer.text}`);
  return { key, token: answer.json.access_token, subject: `idp:${subject}` };
}

/** Sends an operator's request as the command does. */
export async function asOperator(harness: Harness, who: SignedIn, call: Call): Promise<Answer> {
  const { method = 'GET', path } = call;
  const proof = dpop({ key: who.key, method, path: path.split('?')[0]!, now: harness.now(), accessToken: who.token });
  const json: Record<string, string> = call.body === undefined ? {} : { 'content-type': 'application/json' };
  return await harness.operatorCall({
    ...call,
    headers: { ...json, authorization: `DPoP ${who.token}`, dpop: proof, ...call.headers },
  });
}

/** Asks who the operator is. */
export function whoAmI(harness: Harness, who: SignedIn): Promise<Answer> {
  return asOperator(harness, who, { path: '/operator/session' });
}

/** Code of the refusal, or `signed in`. */
export async function codeOf(harness: Harness, who: SignedIn): Promise<string> {
  return (await whoAmI(harness, who)).json.error_code ?? 'signed in';
}

/** An ID token as a refresh brings it: without a nonce. */
export function refreshedIdToken(
  harness: Harness,
  subject: string,
  groups: readonly string[],
  more: JWTPayload = {},
): Promise<string> {
  const now = harness.now();
  return harness.idp.prove(subject, { aud: OPERATOR_CLIENT, groups: [...groups], iat: now, exp: now + 300, ...more });
}

/** `POST /operator/session/confirm`; the next request has the new token. */
export async function confirmSignIn(harness: Harness, who: SignedIn, token: string | Promise<string>): Promise<Answer> {
  const body = JSON.stringify({ id_token: await token });
  const answer = await asOperator(harness, who, { method: 'POST', path: '/operator/session/confirm', body });
  if (answer.status === 200) who.token = answer.json.access_token;
  return answer;
}

/** A broker that takes the logout tokens of its issuers, with one grant. */
export async function startWithLogouts(): Promise<Harness> {
  const harness = await startHarness({
    parts: (clock, { idp, mesh }) => ({
      verifyLogout: createLogoutVerifier({ access: mesh.access, keys: idp.keys, clock }),
    }),
  });
  harness.mesh.setAccess([grant('dev')]);
  return harness;
}
