/**
 * Broker client that keeps a session's credentials after the session has ended, so that a drill can replay them when
 * they must be dead. It returns every broker response unchanged, including refusals.
 */
import { generateKeyPairSync, type KeyObject, randomUUID } from 'node:crypto';
import { startPresenceListener } from '@meshpass/agent/session/presence';
import type { StatementKey } from '@meshpass/identity/channel/statement';
import { createCsr } from '@meshpass/identity/csr';
import { createDpopProof, type DpopKey, dpopKey } from '@meshpass/identity/dpop';
import { createPresenceProof } from '@meshpass/identity/presence';
import { PresenceChallenge, type SessionResponse } from '@meshpass/identity/wire';
import { type Answer, ask } from '../broker/ask.ts';

export interface Svid {
  readonly key: string;
  readonly chain: string;
  readonly spiffeId: string;
}

/** Credentials of one session, kept in memory only. */
export interface DrillCredentials {
  readonly broker: string;
  readonly dpop: DpopKey;
  /** CA of the broker and the edge, in PEM. Defaults to Node's built-in roots. */
  readonly ca?: string | undefined;
  /** Port on which the broker's presence challenges are answered; any free port if absent. */
  readonly presencePort?: number;
  sessionToken: string;
  /** The most recently opened session, and the keys with which the broker signs statements about it. */
  session?: { readonly id: string; readonly statementKeys: readonly StatementKey[] };
  roots: readonly string[];
  readonly svids: Record<string, Svid>;
  identityToken?: string;
}

/** A session as the broker opened it, with its credentials. */
export interface Held {
  readonly credentials: DrillCredentials;
  readonly opened: SessionResponse;
}

export interface ProvenRequest {
  readonly key: DpopKey;
  readonly method: string;
  readonly url: string;
  readonly accessToken: string | undefined;
}

/** Creates the DPoP proof for a request. If it returns undefined, the request is sent without a proof. */
export type DpopProver = (request: ProvenRequest) => string | undefined;

/** A presence challenge from the broker. */
export interface PresenceRequest {
  readonly challenge: PresenceChallenge;
  readonly codespaceName: string;
  readonly credentials: DrillCredentials;
}

/**
 * Answers a presence challenge. Returns the form fields for the second token exchange, and a function that stops
 * answering.
 */
export type PresenceResponder = (
  asked: PresenceRequest,
) => Promise<{ readonly members: Record<string, string>; readonly close: () => void }>;

/**
 * Creates credentials that contain only a new DPoP key.
 * @param broker base URL of the broker
 */
export function createEmptyCredentials(broker: string, ca?: string, presencePort = 0): DrillCredentials {
  const empty = { dpop: generateDpopKey(), sessionToken: '', roots: [], svids: {} };
  return { broker, presencePort, ...empty, ...(ca !== undefined && { ca }) };
}

/** Creates a new DPoP key. */
export function generateDpopKey(): DpopKey {
  return dpopKey(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey);
}

/**
 * Sends `POST /token` with the given form fields. If the response contains a session, it is stored in the credentials.
 * @param respond answers a presence challenge; if null, the broker's refusal is returned instead
 */
export async function enrol(
  credentials: DrillCredentials,
  form: Readonly<Record<string, string>>,
  prove: DpopProver = createAgentProof,
  respond: PresenceResponder | null = respondAsAgent,
): Promise<Answer> {
  const exchange = (members: Readonly<Record<string, string>>) =>
    ask(`${credentials.broker}/token`, {
      method: 'POST',
      ca: credentials.ca,
      body: new URLSearchParams({
        grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
        ...members,
      }).toString(),
      headers: {
        'content-type': 'application/x-www-form-urlencoded',
        ...proof(credentials, 'POST', '/token', undefined, prove),
      },
    });
  let answer = await exchange(form);
  const challenge = PresenceChallenge.safeParse((answer.json as { presence?: unknown } | undefined)?.presence);
  if (challenge.success && respond) {
    const response = await respond({
      challenge: challenge.data,
      codespaceName: form.codespace_name ?? '',
      credentials,
    });
    try {
      answer = await exchange({ ...form, ...response.members });
    } finally {
      response.close();
    }
  }
  if (answer.status === 200) {
    const { access_token: token, session, mesh } = answer.json as SessionResponse;
    credentials.sessionToken = token;
    credentials.session = { id: session.id, statementKeys: mesh.statement_keys };
    credentials.roots = mesh.roots;
  }
  return answer;
}

/** Answers a challenge as the agent does: on a port of this workspace, signed with the DPoP key of the exchange. */
const respondAsAgent: PresenceResponder = async ({ challenge, codespaceName, credentials }) => {
  const listener = await startPresenceListener(credentials.presencePort ?? 0);
  const expiresAt = Math.floor(Date.now() / 1000) + challenge.expires_in;
  const { dpop: key, broker } = credentials;
  listener.expect(challenge.path, createPresenceProof({ key, challenge, broker, codespaceName, expiresAt }));
  const members = { presence_nonce: challenge.nonce, presence_port: String(listener.port) };
  return { members, close: listener.close };
};

/** Sends a request with the session token and a DPoP proof. */
export function callBroker(
  credentials: DrillCredentials,
  method: string,
  path: string,
  body?: {
    readonly json?: unknown;
    readonly form?: Readonly<Record<string, string>>;
    readonly headers?: Readonly<Record<string, string>>;
  },
  prove: DpopProver = createAgentProof,
): Promise<Answer> {
  const headers: Record<string, string> = {
    ...body?.headers,
    authorization: `DPoP ${credentials.sessionToken}`,
    ...proof(credentials, method, path, credentials.sessionToken, prove),
  };
  let text: string | undefined;
  if (body?.json !== undefined) {
    headers['content-type'] = 'application/json';
    text = JSON.stringify(body.json);
  } else if (body?.form) {
    headers['content-type'] = 'application/x-www-form-urlencoded';
    text = new URLSearchParams(body.form).toString();
  }
  return ask(`${credentials.broker}${path}`, {
    method,
    headers,
    ca: credentials.ca,
    ...(text !== undefined && { body: text }),
  });
}

/**
 * Requests an SVID for a grant and stores it under the grant's name. If `csr` is set, it is sent instead of a generated
 * certificate request.
 */
export async function requestCertificate(
  credentials: DrillCredentials,
  grant: string,
  csr?: string,
  prove: DpopProver = createAgentProof,
): Promise<Answer> {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const request = { certificates: [{ grant, csr: csr ?? createCsr(privateKey) }] };
  const answer = await callBroker(credentials, 'POST', '/certificates', { json: request }, prove);
  if (answer.status === 200) {
    const { certificates } = answer.json as { certificates: { chain: string; spiffe_id: string }[] };
    const issued = certificates[0]!;
    credentials.svids[grant] = { key: pem(privateKey), chain: issued.chain, spiffeId: issued.spiffe_id };
  }
  return answer;
}

/** Requests a JWT for an audience. If no audience is given, requests the identity token and stores it. */
export async function requestToken(
  credentials: DrillCredentials,
  audience?: string,
  prove: DpopProver = createAgentProof,
): Promise<Answer> {
  const form = {
    grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
    subject_token: credentials.sessionToken,
    subject_token_type: 'urn:meshpass:token-type:session',
    requested_token_type: `urn:ietf:params:oauth:token-type:${audience === undefined ? 'jwt' : 'id_token'}`,
    ...(audience !== undefined && { audience }),
  };
  const answer = await callBroker(credentials, 'POST', '/token', { form }, prove);
  if (answer.status === 200 && audience === undefined) {
    credentials.identityToken = (answer.json as { access_token: string }).access_token;
  }
  return answer;
}

/** Creates the same DPoP proof as the agent would. */
function createAgentProof({ key, method, url, accessToken }: ProvenRequest): string {
  return createDpopProof({
    key,
    method,
    url,
    now: Math.floor(Date.now() / 1000),
    jti: randomUUID(),
    ...(accessToken !== undefined && { accessToken }),
  });
}

function proof(
  credentials: DrillCredentials,
  method: string,
  path: string,
  accessToken: string | undefined,
  prove: DpopProver,
): Record<string, string> {
  const dpop = prove({ key: credentials.dpop, method, url: `${credentials.broker}${path}`, accessToken });
  return dpop === undefined ? {} : { dpop };
}

function pem(key: KeyObject): string {
  return key.export({ type: 'pkcs8', format: 'pem' }) as string;
}
