/** The agents of bench/channel/bench.ts: each with a key, a session, an SVID and a control connection of its own. */
import { createPrivateKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { Agent } from 'node:https';
import { setTimeout as pause } from 'node:timers/promises';
import { createSecureContext } from 'node:tls';
import { type Channel, openChannel } from '@meshpass/agent/channel/channel';
import { createStatementVerifier } from '@meshpass/agent/statements/statement-verifier';
import { createCsr, type DpopKey, dpopKey } from '@meshpass/identity';
import type { SessionResponse } from '@meshpass/identity/wire';
import { createCa } from '../../packages/edge/test/mesh-ca.ts';
import { type Asked, askBroker, openingForm } from '../sessions/developer.ts';

export interface Hello {
  readonly meshRoot: string;
  readonly cert: string;
  readonly key: string;
}
export interface ChannelCrowd {
  readonly brokerPort: number;
  readonly brokerCa: string;
  readonly edgePort: number;
  readonly issuerKey: string;
  readonly sessions: number;
  readonly perSecond: number;
  readonly heartbeatSeconds: number;
}
export interface ChannelReady {
  readonly opened: number;
}
export interface Renewed {
  /** Acknowledged leases since `measure`. */
  readonly leases: number;
  readonly silent: number;
  readonly refused: number;
  readonly ended: number;
}

const ARRIVING_TOGETHER = 32;
/** Certificate request of all clients; they share a key, because no signature is checked here. */
const CSR = createCsr(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey);
const [mesh, web] = await Promise.all([createCa('mesh'), createCa('web')]);
const server = await web.issue({ san: [{ type: 'dns', value: 'localhost' }], notAfter: Date.now() + 80_000_000 });
process.send!({ meshRoot: mesh.root, cert: server.cert, key: server.key } satisfies Hello);

const counts = { leases: 0, silent: 0, refused: 0, ended: 0 };
const channels: Channel[] = [];
const holding = new Set<string>();
let crowd: ChannelCrowd;
let agent: Agent;
let issuerKey: KeyObject;

process.on('message', async (message: ChannelCrowd | 'measure' | 'stop') => {
  if (message === 'measure') {
    Object.assign(counts, { leases: 0, silent: 0, refused: 0, ended: 0 });
  } else if (message === 'stop') {
    process.send!({ ...counts } satisfies Renewed);
    for (const channel of channels) void channel.close();
    process.exit(0);
  } else {
    crowd = message;
    issuerKey = createPrivateKey(crowd.issuerKey);
    agent = new Agent({ ca: crowd.brokerCa, keepAlive: true, maxSockets: ARRIVING_TOGETHER });
    const began = performance.now();
    let next = 0;
    let failed = 0;
    const lane = async () => {
      while (next < crowd.sessions) {
        const number = next++;
        await pause(Math.max(0, began + (number * 1000) / crowd.perSecond - performance.now()));
        // A connection that the broker closed in the meantime is not a failure of its own.
        await arrive(number)
          .catch(() => arrive(number))
          .catch((error: Error) => {
            if (failed++ === 0) console.error('not opened:', error.message);
          });
      }
    };
    await Promise.all(Array.from({ length: ARRIVING_TOGETHER }, lane));
    for (let n = 0; n < 600 && holding.size + failed < crowd.sessions; n++) await pause(100);
    process.send!({ opened: holding.size } satisfies ChannelReady);
  }
});

async function arrive(number: number): Promise<void> {
  const key = dpopKey(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey);
  const form = await openingForm(number, issuerKey);
  const opened = await granted<SessionResponse>(key, { path: '/token', form });
  const json = { certificates: [{ grant: opened.session.grants[0], csr: CSR }] };
  const asked = { path: '/certificates', json, token: opened.access_token };
  const issued = await granted<{ certificates: { spiffe_id: string }[] }>(key, asked);
  const spiffeId = issued.certificates[0]!.spiffe_id;
  const identity = await mesh.issue({ san: [{ type: 'url', value: spiffeId }], notAfter: Date.now() + 80_000_000 });
  const secureContext = createSecureContext({ ca: web.root, cert: identity.cert, key: identity.key });
  const { statement_keys } = opened.mesh;
  const received = createStatementVerifier({ sessionId: opened.session.id, keys: () => statement_keys });
  channels.push(
    openChannel({
      edge: () => ({ host: 'localhost', port: crowd.edgePort }),
      secureContext: () => secureContext,
      sessionId: opened.session.id,
      key,
      received,
      heartbeatMs: crowd.heartbeatSeconds * 1000,
      silentMs: crowd.heartbeatSeconds * 2_500,
      onEvent: ({ type, ...more }) => {
        if (type === 'lease') {
          counts.leases++;
          holding.add(opened.session.id);
        } else if (type === 'silent') counts.silent++;
        else if (type === 'ended') counts.ended++;
        else if (counts.refused++ === 0) console.error('not renewed:', type, more);
      },
    }),
  );
}

/** @throws Error if it is not granted */
async function granted<T>(key: DpopKey, asked: Omit<Asked, 'port'>): Promise<T> {
  const { status, text } = await askBroker(agent, key, { ...asked, port: crowd.brokerPort });
  if (status !== 200) throw new Error(`${asked.path} answered ${status} ${text}`);
  return JSON.parse(text) as T;
}
