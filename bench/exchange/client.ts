/** The client of bench/exchange/bench.ts: signs its proofs beforehand, then exchanges them over kept-alive TLS connections. */
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { Agent, request } from 'node:https';
import { createDpopProof, dpopKey } from '@meshpass/identity';
import { exportJWK, SignJWT } from 'jose';

export interface Load {
  readonly port: number;
  readonly ca: string;
  readonly connections: number;
  readonly exchanges: number;
}
export interface Measured {
  readonly perSecond: number;
  readonly p50: number;
  readonly p99: number;
  readonly failed: number;
}

const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const dpop = dpopKey(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey);
process.send!({ jwks: { keys: [{ ...(await exportJWK(publicKey)), kid: 'bench', alg: 'RS256', use: 'sig' }] } });

process.on('message', async (load: Load) => {
  const agent = new Agent({ ca: load.ca, keepAlive: true, maxSockets: load.connections });
  const bodies: string[] = [];
  for (let n = 0; n < load.exchanges; n++) bodies.push(await body());
  const times: number[] = [];
  let failed = 0;
  const lane = async () => {
    for (let next = bodies.pop(); next !== undefined; next = bodies.pop()) {
      const began = performance.now();
      const { status, text } = await exchange(agent, load.port, next);
      times.push(performance.now() - began);
      if (status !== 200 && failed++ === 0) console.error('refused:', text);
    }
  };
  const began = performance.now();
  await Promise.all(Array.from({ length: load.connections }, lane));
  const seconds = (performance.now() - began) / 1000;
  times.sort((a, b) => a - b);
  const at = (quantile: number) => times[Math.floor(times.length * quantile)] ?? 0;
  const measured: Measured = { perSecond: load.exchanges / seconds, p50: at(0.5), p99: at(0.99), failed };
  agent.destroy();
  process.send!(measured);
});

let count = 0;
async function body(): Promise<string> {
  const claims = { email: `dev${count}@acme.com`, email_verified: true, groups: ['dev', 'sre'], jti: randomUUID() };
  const token = await new SignJWT(claims)
    .setProtectedHeader({ alg: 'RS256', kid: 'bench' })
    .setIssuer('https://idp.bench')
    .setAudience('meshpass')
    .setSubject(`user-${process.pid}-${count++}`)
    .setIssuedAt()
    .setExpirationTime('10m')
    .sign(privateKey);
  return new URLSearchParams({
    grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
    subject_token: token,
    subject_token_type: 'urn:ietf:params:oauth:token-type:id_token',
  }).toString();
}

function exchange(agent: Agent, port: number, form: string): Promise<{ status: number; text: string }> {
  const proof = createDpopProof({
    key: dpop,
    method: 'POST',
    url: 'https://broker.bench/token',
    now: Math.floor(Date.now() / 1000),
    jti: randomUUID(),
  });
  const headers = { 'content-type': 'application/x-www-form-urlencoded', dpop: proof, 'content-length': form.length };
  return new Promise((resolve, reject) => {
    const options = { agent, host: '127.0.0.1', port, method: 'POST', path: '/token', headers };
    const sent = request(options, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk) => chunks.push(chunk));
      response.on('end', () => resolve({ status: response.statusCode!, text: Buffer.concat(chunks).toString() }));
      response.on('error', reject);
    });
    sent.on('error', reject);
    sent.end(form);
  });
}
