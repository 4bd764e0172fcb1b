/** Developer of a benchmark: their ID token, and their requests to the broker, proven like an agent's. */
import { type KeyObject, randomUUID } from 'node:crypto';
import { type Agent, request } from 'node:https';
import { createDpopProof, type DpopKey } from '@meshpass/identity';
import { SignJWT } from 'jose';

export interface BrokerAnswer {
  readonly status: number;
  readonly text: string;
  /** Whether it came over a new connection. */
  readonly connected: boolean;
}

export interface Asked {
  readonly port: number;
  readonly path: string;
  readonly form?: Readonly<Record<string, string>>;
  readonly json?: unknown;
  /** Expiry of the session. */
  readonly token?: string;
}

export async function idTokenOf(number: number, issuerKey: KeyObject): Promise<string> {
  return await new SignJWT({
    email: `dev${number}@acme.com`,
    email_verified: true,
    groups: ['dev', 'sre'],
    jti: randomUUID(),
  })
    .setProtectedHeader({ alg: 'RS256', kid: 'bench' })
    .setIssuer('https://idp.bench')
    .setAudience('meshpass')
    .setSubject(`user-${number}`)
    .setIssuedAt()
    .setExpirationTime('10m')
    .sign(issuerKey);
}

/** The form that opens a session. */
export async function openingForm(number: number, issuerKey: KeyObject): Promise<Record<string, string>> {
  return {
    grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
    subject_token: await idTokenOf(number, issuerKey),
    subject_token_type: 'urn:ietf:params:oauth:token-type:id_token',
  };
}

/** POST to the broker on this machine. */
export function askBroker(agent: Agent, key: DpopKey, { port, path, form, json, token }: Asked): Promise<BrokerAnswer> {
  const proof = createDpopProof({
    key,
    method: 'POST',
    url: `https://broker.bench${path}`,
    now: Math.floor(Date.now() / 1000),
    jti: randomUUID(),
    ...(token !== undefined && { accessToken: token }),
  });
  const body = form ? new URLSearchParams(form).toString() : json === undefined ? '' : JSON.stringify(json);
  const headers = {
    dpop: proof,
    'content-length': Buffer.byteLength(body),
    ...(body && { 'content-type': form ? 'application/x-www-form-urlencoded' : 'application/json' }),
    ...(token !== undefined && { authorization: `DPoP ${token}` }),
  };
  return new Promise((resolve, reject) => {
    const sent = request({ agent, host: '127.0.0.1', port, method: 'POST', path, headers }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk) => chunks.push(chunk));
      response.on('end', () => {
        const text = Buffer.concat(chunks).toString();
        resolve({ status: response.statusCode!, text, connected: !sent.reusedSocket });
      });
      response.on('error', reject);
    });
    sent.on('error', reject);
    sent.end(body);
  });
}
