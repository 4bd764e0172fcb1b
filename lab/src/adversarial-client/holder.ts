/** Broker requests of an adversarial client. It sends what it is told to, and returns every response unchanged. Lab only. */
import { generateKeyPairSync } from 'node:crypto';
import { type Svid as AgentSvid, generateDpopKey } from '@meshpass/agent/session/enrol';
import { type Answer, ask } from '@meshpass/cli/broker/request';
import type { TunnelCredentials } from '@meshpass/cli/drill/tunnel';
import { createCsr, type DpopKey } from '@meshpass/identity';
import type { StatementKey } from '@meshpass/identity/channel';
import { PresenceChallenge, type SessionResponse } from '@meshpass/identity/wire';
import type { DpopProver } from './invalid-proofs.ts';

/** Certificate and key of a grant, as JSON. */
export type Svid = Pick<AgentSvid, 'privateKey' | 'chain' | 'spiffeId'>;

/** Credentials that one name holds, its own or another's. */
export interface Holder {
  readonly broker: string;
  readonly dpop: DpopKey;
  sessionToken: string;
  session?: { readonly id: string; readonly statementKeys: readonly StatementKey[] };
  roots: readonly string[];
  readonly svids: Record<string, Svid>;
  identityToken?: string;
}

export interface PresenceRequest {
  readonly challenge: PresenceChallenge;
  readonly codespaceName: string;
  readonly holder: Holder;
}

/** Answers a challenge. Returns the form fields of the second exchange, and a function that stops answering. */
export type PresenceResponder = (
  asked: PresenceRequest,
) => Promise<{ readonly members: Record<string, string>; readonly close: () => void }>;

export interface BrokerRequest {
  readonly method: string;
  readonly path: string;
  readonly json?: unknown;
  readonly form?: Readonly<Record<string, string>> | undefined;
  readonly headers?: Readonly<Record<string, string>> | undefined;
}

const GRANT_TYPE = 'urn:ietf:params:oauth:grant-type:token-exchange';

/** Creates a holder that has a new key and no credentials. */
export function emptyHanded(broker: string): Holder {
  return { broker, dpop: generateDpopKey(), sessionToken: '', roots: [], svids: {} };
}

/** Sends a request with the session token. */
export function speak(holder: Holder, request: BrokerRequest, prove: DpopProver): Promise<Answer> {
  return send(holder, request, prove, holder.sessionToken);
}

/** @param respond answers a challenge of the broker; null leaves it unanswered */
export async function enrol(
  holder: Holder,
  form: Readonly<Record<string, string>>,
  prove: DpopProver,
  respond: PresenceResponder | null,
): Promise<Answer> {
  const exchange = (members: Readonly<Record<string, string>> = {}) =>
    send(holder, { method: 'POST', path: '/token', form: { grant_type: GRANT_TYPE, ...form, ...members } }, prove);
  let answer = await exchange();
  const challenge = PresenceChallenge.safeParse((answer.json as { presence?: unknown } | undefined)?.presence);
  if (challenge.success && respond) {
    const { members, close } = await respond({
      challenge: challenge.data,
      codespaceName: form.codespace_name ?? '',
      holder,
    });
    answer = await exchange(members).finally(close);
  }
  if (answer.status === 200) {
    const { access_token: token, session, mesh } = answer.json as SessionResponse;
    holder.sessionToken = token;
    holder.session = { id: session.id, statementKeys: mesh.statement_keys };
    holder.roots = mesh.roots;
  }
  return answer;
}

/** @param csr sent instead of a generated one */
export async function requestCertificate(
  holder: Holder,
  grant: string,
  csr: string | undefined,
  prove: DpopProver,
): Promise<Answer> {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const json = { certificates: [{ grant, csr: csr ?? createCsr(privateKey) }] };
  const answer = await speak(holder, { method: 'POST', path: '/certificates', json }, prove);
  if (answer.status === 200) {
    const [issued] = (answer.json as { certificates: { chain: string; spiffe_id: string }[] }).certificates;
    const key = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
    holder.svids[grant] = { privateKey: key, chain: issued!.chain, spiffeId: issued!.spiffe_id };
  }
  return answer;
}

/** @param audience absent for the identity token, which the holder keeps */
export async function requestToken(holder: Holder, audience: string | undefined, prove: DpopProver): Promise<Answer> {
  const form = {
    grant_type: GRANT_TYPE,
    subject_token: holder.sessionToken,
    subject_token_type: 'urn:meshpass:token-type:session',
    requested_token_type: `urn:ietf:params:oauth:token-type:${audience === undefined ? 'jwt' : 'id_token'}`,
    ...(audience !== undefined && { audience }),
  };
  const answer = await speak(holder, { method: 'POST', path: '/token', form }, prove);
  if (answer.status === 200 && audience === undefined)
    holder.identityToken = (answer.json as { access_token: string }).access_token;
  return answer;
}

export function tunnelCredentials({ svids, roots }: Pick<Holder, 'svids' | 'roots'>): TunnelCredentials {
  return { svids: new Map(Object.entries(svids)), mesh: { roots } };
}

function send(
  { broker, dpop: key }: Holder,
  { method, path, json, form, headers }: BrokerRequest,
  prove: DpopProver,
  accessToken?: string,
): Promise<Answer> {
  const url = `${broker}${path}`;
  const dpop = prove({ key, method, url, accessToken });
  const body = form ? new URLSearchParams(form).toString() : JSON.stringify(json);
  return ask(url, {
    method,
    headers: {
      ...headers,
      ...(accessToken !== undefined && { authorization: `DPoP ${accessToken}` }),
      ...(dpop !== undefined && { dpop }),
      ...(body !== undefined && { 'content-type': `application/${form ? 'x-www-form-urlencoded' : 'json'}` }),
    },
    ...(body !== undefined && { body }),
  });
}
