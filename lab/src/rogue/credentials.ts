/** Credentials of a client that does what the agent never would: it keeps everything, and misuses it on request. */
import { generateKeyPairSync, type KeyObject, randomUUID } from 'node:crypto';
import { createCsr } from '@meshpass/identity/csr';
import { createDpopProof, type DpopKey, dpopKey } from '@meshpass/identity/dpop';
import { type Answer, ask } from './ask.ts';

export interface Svid {
  readonly key: string;
  readonly chain: string;
  readonly spiffeId: string;
}

/** What one enrolment holds. Lab only: the agent exports none of this. */
export interface Loot {
  readonly broker: string;
  readonly dpop: DpopKey;
  sessionToken: string;
  roots: readonly string[];
  readonly svids: Record<string, Svid>;
  identityToken?: string;
}

/** What a DPoP proof says instead of the truth. */
export interface DpopLies {
  readonly omit?: boolean;
  readonly method?: string;
  readonly url?: string;
  readonly iat?: number;
  readonly jti?: string;
  readonly otherKey?: boolean;
  readonly accessToken?: string | null;
}

export function emptyHanded(broker: string): Loot {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return { broker, dpop: dpopKey(privateKey), sessionToken: '', roots: [], svids: {} };
}

/** POST /token with these form members. Fills the loot when a session comes back. */
export async function enrol(loot: Loot, form: Readonly<Record<string, string>>, lies: DpopLies = {}): Promise<Answer> {
  const body = new URLSearchParams({
    grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
    ...form,
  }).toString();
  const answer = await ask(`${loot.broker}/token`, {
    method: 'POST',
    headers: { 'content-type': 'application/x-www-form-urlencoded', ...proof(loot, 'POST', '/token', undefined, lies) },
    body,
  });
  if (answer.status === 200) {
    const session = answer.json as { access_token: string; mesh: { roots: string[] } };
    loot.sessionToken = session.access_token;
    loot.roots = session.mesh.roots;
  }
  return answer;
}

/** A request of the session, with its token and a DPoP proof. */
export function speak(
  loot: Loot,
  method: string,
  path: string,
  body?: { readonly json?: unknown; readonly form?: Readonly<Record<string, string>> },
  lies: DpopLies = {},
): Promise<Answer> {
  const headers: Record<string, string> = {
    authorization: `DPoP ${loot.sessionToken}`,
    ...proof(loot, method, path, loot.sessionToken, lies),
  };
  let text: string | undefined;
  if (body?.json !== undefined) {
    headers['content-type'] = 'application/json';
    text = JSON.stringify(body.json);
  } else if (body?.form) {
    headers['content-type'] = 'application/x-www-form-urlencoded';
    text = new URLSearchParams(body.form).toString();
  }
  return ask(`${loot.broker}${path}`, { method, headers, ...(text !== undefined && { body: text }) });
}

/** An SVID for a grant; kept under the grant's name. `csr` replaces the honest request. */
export async function certificate(loot: Loot, grant: string, csr?: string, lies: DpopLies = {}): Promise<Answer> {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const request = { certificates: [{ grant, csr: csr ?? createCsr(privateKey) }] };
  const answer = await speak(loot, 'POST', '/certificates', { json: request }, lies);
  if (answer.status === 200) {
    const { certificates } = answer.json as { certificates: { chain: string; spiffe_id: string }[] };
    const issued = certificates[0]!;
    loot.svids[grant] = { key: pem(privateKey), chain: issued.chain, spiffeId: issued.spiffe_id };
  }
  return answer;
}

/** A JWT for one audience; without one, the identity token, which is kept. */
export async function token(loot: Loot, audience?: string, lies: DpopLies = {}): Promise<Answer> {
  const form = {
    grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
    subject_token: loot.sessionToken,
    subject_token_type: 'urn:meshpass:token-type:session',
    requested_token_type: `urn:ietf:params:oauth:token-type:${audience === undefined ? 'jwt' : 'id_token'}`,
    ...(audience !== undefined && { audience }),
  };
  const answer = await speak(loot, 'POST', '/token', { form }, lies);
  if (answer.status === 200 && audience === undefined) {
    loot.identityToken = (answer.json as { access_token: string }).access_token;
  }
  return answer;
}

function proof(
  loot: Loot,
  method: string,
  path: string,
  accessToken: string | undefined,
  lies: DpopLies,
): Record<string, string> {
  if (lies.omit) return {};
  const key = lies.otherKey ? dpopKey(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey) : loot.dpop;
  const bound = lies.accessToken === null ? undefined : (lies.accessToken ?? accessToken);
  const dpop = createDpopProof({
    key,
    method: lies.method ?? method,
    url: lies.url ?? `${loot.broker}${path}`,
    now: lies.iat ?? Math.floor(Date.now() / 1000),
    jti: lies.jti ?? randomUUID(),
    ...(bound !== undefined && { accessToken: bound }),
  });
  return { dpop };
}

function pem(key: KeyObject): string {
  return key.export({ type: 'pkcs8', format: 'pem' }) as string;
}
