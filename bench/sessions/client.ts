/** The agents of bench/sessions/bench.ts: each with a key, a session and a TLS connection of its own, at rest but for its lease. */
import { createPrivateKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { Agent } from 'node:https';
import { setTimeout as pause } from 'node:timers/promises';
import { createSecureContext, type SecureContext } from 'node:tls';
import { type DpopKey, dpopKey } from '@meshpass/identity';
import { createLeaseProof } from '@meshpass/identity/channel';
import { decodeJwt } from 'jose';
import { askBroker, openingForm } from './developer.ts';

export interface Crowd {
  readonly port: number;
  readonly ca: string;
  /** Private key of their issuer, PEM. */
  readonly issuerKey: string;
  readonly sessions: number;
  /** Sessions opened in a second; more would delay the measured requests. */
  readonly perSecond: number;
  readonly heartbeatSeconds: number;
}
export interface Ready {
  readonly opened: number;
}
export interface Beaten {
  /** Heartbeats that were not answered, or not with 200. */
  readonly failed: number;
  /** Heartbeats refused because the session has ended: its lease had lapsed. */
  readonly lapsed: number;
  /** Heartbeats that came over a new connection, with its handshake. */
  readonly connected: number;
  /** Milliseconds that each took, including its handshake, if any. */
  readonly times: readonly number[];
}

const ARRIVING_TOGETHER = 64;

interface Member {
  readonly key: DpopKey;
  readonly agent: Agent;
  readonly sessionId: string;
}

let beaten = nothing();
let stopped = false;
let crowd: Crowd;
/** Shared TLS context: creating one per connection costs a quarter of a millisecond and some 30 KB. */
let secureContext: SecureContext;
let issuerKey: KeyObject;

process.on('message', async (message: Crowd | 'measure' | 'stop') => {
  if (message === 'measure') {
    beaten = nothing();
  } else if (message === 'stop') {
    stopped = true;
    process.send!(beaten satisfies Beaten);
  } else {
    crowd = message;
    secureContext = createSecureContext({ ca: crowd.ca });
    issuerKey = createPrivateKey(crowd.issuerKey);
    const began = performance.now();
    let next = 0;
    let opened = 0;
    const lane = async () => {
      while (next < crowd.sessions) {
        const number = next++;
        const due = began + (number * 1000) / crowd.perSecond;
        await pause(Math.max(0, due - performance.now()));
        const member = await arrive(number).catch((error: Error) => console.error('not opened:', error.message));
        if (!member) continue;
        opened++;
        beatFromNowOn(member);
      }
    };
    await Promise.all(Array.from({ length: ARRIVING_TOGETHER }, lane));
    process.send!({ opened } satisfies Ready);
  }
});

function nothing() {
  return { failed: 0, lapsed: 0, connected: 0, times: [] as number[] };
}

async function arrive(number: number): Promise<Member | undefined> {
  const key = dpopKey(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey);
  const agent = new Agent({ secureContext, keepAlive: true, maxSockets: 1 });
  const form = await openingForm(number, issuerKey);
  const answer = await askBroker(agent, key, { port: crowd.port, path: '/token', form });
  if (answer.status === 200)
    return { key, agent, sessionId: (JSON.parse(answer.text) as { session: { id: string } }).session.id };
  console.error('refused:', answer.status, answer.text);
  return undefined;
}

/** Spread over the interval as arrivals are in life. */
function beatFromNowOn(member: Member): void {
  const interval = crowd.heartbeatSeconds * 1000;
  let seq = 0;
  const beat = async () => {
    if (stopped) return;
    const began = performance.now();
    const { key, sessionId } = member;
    const proof = createLeaseProof({ sid: sessionId, seq: ++seq, at: Date.now() }, key);
    const json = { leases: [{ session_id: sessionId, proof }] };
    const asked = { port: crowd.port, path: '/leases', json };
    const answer = await askBroker(member.agent, key, asked).catch((error: Error) => {
      return { status: 0, text: error.message, connected: false };
    });
    if (stopped) return;
    beaten.times.push(performance.now() - began);
    if (answer.connected) beaten.connected++;
    const isEnded = answer.status === 200 && kindOf(answer.text) === 'ended';
    if (answer.status === 200 && !isEnded) return;
    if (isEnded || answer.text.includes('"session_closed"')) beaten.lapsed++;
    if (beaten.failed++ === 0) console.error('a heartbeat failed:', answer.status, answer.text);
  };
  setTimeout(() => {
    void beat();
    setInterval(beat, interval);
  }, Math.random() * interval);
}

/** Kind of the statement in an answer. */
function kindOf(text: string): unknown {
  const { answers } = JSON.parse(text) as { answers: { statement: string }[] };
  return decodeJwt(answers[0]!.statement).kind;
}
