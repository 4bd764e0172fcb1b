/** The agents of bench/sessions.ts: each with a key, a session and a kept-alive TLS connection of its own, at rest but for its lease. */
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { Agent, request } from 'node:https';
import { createSecureContext, type SecureContext } from 'node:tls';
import { exportJWK, SignJWT } from 'jose';
import { createDpopProof, type DpopKey, dpopKey } from '../packages/identity/src/index.ts';

export interface Crowd {
  readonly port: number;
  readonly ca: string;
  readonly sessions: number;
  readonly heartbeatSeconds: number;
}
export interface Ready {
  readonly opened: number;
}
export interface Beaten {
  readonly heartbeats: number;
  readonly failed: number;
  readonly p99Millis: number;
}

interface Member {
  readonly key: DpopKey;
  readonly agent: Agent;
  readonly token: string;
}

const ARRIVING_TOGETHER = 32;
const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
let times: number[] = [];
let failed = 0;
let stopped = false;
let crowd: Crowd;
/** One for all: made anew for each connection, it costs a quarter of a millisecond and some 30 KB. */
let secureContext: SecureContext;

process.send!({ jwks: { keys: [{ ...(await exportJWK(publicKey)), kid: 'bench', alg: 'RS256', use: 'sig' }] } });

process.on('message', async (message: Crowd | 'measure' | 'stop') => {
  if (message === 'measure') {
    [times, failed] = [[], 0];
  } else if (message === 'stop') {
    stopped = true;
    times.sort((a, b) => a - b);
    const p99Millis = times[Math.floor(times.length * 0.99)] ?? 0;
    process.send!({ heartbeats: times.length, failed, p99Millis } satisfies Beaten);
  } else {
    crowd = message;
    secureContext = createSecureContext({ ca: crowd.ca });
    let next = 0;
    let opened = 0;
    const lane = async () => {
      while (next < crowd.sessions) {
        const member = await arrive(next++).catch((error: Error) => console.error('not opened:', error.message));
        if (!member) continue;
        opened++;
        beatFromNowOn(member);
      }
    };
    await Promise.all(Array.from({ length: ARRIVING_TOGETHER }, lane));
    process.send!({ opened } satisfies Ready);
  }
});

async function arrive(number: number): Promise<Member | undefined> {
  const key = dpopKey(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey);
  const agent = new Agent({ secureContext, keepAlive: true, maxSockets: 1 });
  const form = new URLSearchParams({
    grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
    subject_token: await proofOf(number),
    subject_token_type: 'urn:ietf:params:oauth:token-type:id_token',
  }).toString();
  const answer = await ask(agent, key, '/token', { form });
  if (answer.status === 200)
    return { key, agent, token: (JSON.parse(answer.text) as { access_token: string }).access_token };
  console.error('refused:', answer.status, answer.text);
  return undefined;
}

/** Spread over the interval as arrivals are in life. */
function beatFromNowOn(member: Member): void {
  const interval = crowd.heartbeatSeconds * 1000;
  const beat = async () => {
    if (stopped) return;
    const began = performance.now();
    const { status, text } = await ask(member.agent, member.key, '/session/heartbeat', { token: member.token }).catch(
      (error: Error) => ({ status: 0, text: error.message }),
    );
    times.push(performance.now() - began);
    if (status !== 200 && failed++ === 0 && !stopped) console.error('a heartbeat failed:', status, text);
  };
  setTimeout(() => {
    void beat();
    setInterval(beat, interval);
  }, Math.random() * interval);
}

async function proofOf(number: number): Promise<string> {
  return await new SignJWT({ email: `dev${number}@acme.com`, groups: ['dev', 'sre'], jti: randomUUID() })
    .setProtectedHeader({ alg: 'RS256', kid: 'bench' })
    .setIssuer('https://idp.bench')
    .setAudience('meshpass')
    .setSubject(`user-${number}`)
    .setIssuedAt()
    .setExpirationTime('10m')
    .sign(privateKey);
}

function ask(
  agent: Agent,
  key: DpopKey,
  path: string,
  { form = '', token }: { readonly form?: string; readonly token?: string },
): Promise<{ status: number; text: string }> {
  const proof = createDpopProof({
    ...{ key, method: 'POST', url: `https://broker.bench${path}`, now: Math.floor(Date.now() / 1000) },
    ...{ jti: randomUUID(), ...(token !== undefined && { accessToken: token }) },
  });
  const headers = {
    ...{ dpop: proof, 'content-length': form.length },
    ...(form && { 'content-type': 'application/x-www-form-urlencoded' }),
    ...(token !== undefined && { authorization: `DPoP ${token}` }),
  };
  return new Promise((resolve, reject) => {
    const sent = request({ agent, host: '127.0.0.1', port: crowd.port, method: 'POST', path, headers }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk) => chunks.push(chunk));
      response.on('end', () => resolve({ status: response.statusCode!, text: Buffer.concat(chunks).toString() }));
      response.on('error', reject);
    });
    sent.on('error', reject);
    sent.end(form);
  });
}
