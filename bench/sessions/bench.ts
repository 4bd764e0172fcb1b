/**
 * Cost of idle sessions for one broker: each agent renews its lease every 15 s, as agents do, on the TLS connection that the
 * broker keeps or on a new one, resumed. The broker is a process of its own with the real HTTP server, journal and durable
 * store; issuer and mesh are simulated. The clients are another process, and are not counted.
 *   npm run bench -- sessions [--sessions N] [--seconds N] [--only postgres|pglite]
 */
import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { postgresIsThere, startPostgres } from '../../packages/broker/test/harness/postgres.ts';
import { pinned, usage } from '../exchange/bench.ts';
import type { Start, Started } from '../exchange/broker.ts';
import type { Beaten, Crowd, Ready } from './client.ts';

export interface SessionsResult {
  readonly store: string;
  readonly sessions: number;
  readonly heartbeatSeconds: number;
  /** Resident memory of the broker's process, MB: before any session, and at its highest while they beat. */
  readonly emptyMegabytes: number;
  readonly megabytes: number;
  /** Share of one core, 0 to 1. */
  readonly cores: number;
  readonly heartbeatsPerSecond: number;
  /** Heartbeats that needed a TLS handshake. */
  readonly connectedPerSecond: number;
  readonly failed: number;
  readonly lapsed: number;
  readonly p99Millis: number;
}

export const HEARTBEAT_SECONDS = 15;
export const GOALS = { megabytes: 300, cores: 0.5 } as const;
/** Heap limit, the same as in the chart. */
const AS_DEPLOYED = { NODE_OPTIONS: '--max-semi-space-size=8', MALLOC_ARENA_MAX: '2' } as const;
const SAMPLE_MS = 500;
/** Slow enough that enrolled clients can renew their leases. */
const OPENED_PER_SECOND = 100;

export interface SessionsOptions {
  readonly sessions: number;
  /** Duration of the measurement, s, after every session has sent one heartbeat. */
  readonly seconds: number;
  /** Part of the store's name; undefined for every store. */
  readonly only?: string | undefined;
  readonly progress: (line: string) => void;
}

/** Stores to measure: PostgreSQL, its own or that of DATABASE_URL, and the embedded store. */
export async function benchSessions(options: SessionsOptions): Promise<SessionsResult[]> {
  const wanted = (store: string) => store.toLowerCase().includes(options.only?.toLowerCase() ?? '');
  const results: SessionsResult[] = [];
  if (wanted('PostgreSQL') && postgresIsThere) {
    const postgres = startPostgres();
    try {
      results.push(await onOneStore(options, postgres.url));
    } finally {
      postgres.stop();
    }
  }
  if (wanted('PGlite')) results.push(await onOneStore(options, undefined));
  if (results.length === 0) throw new Error(`no store that is here is called ${options.only}`);
  return results;
}

async function onOneStore(
  { sessions, seconds, progress }: SessionsOptions,
  databaseUrl: string | undefined,
): Promise<SessionsResult> {
  const broker = pinned('broker.ts', 0, { ...AS_DEPLOYED, DATABASE_URL: databaseUrl });
  const client = pinned('../sessions/client.ts', availableParallelism() > 1 ? 1 : 0);
  try {
    const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const jwks = { keys: [{ ...publicKey.export({ format: 'jwk' }), kid: 'bench', alg: 'RS256', use: 'sig' }] };
    const issuerKey = privateKey.export({ type: 'pkcs8', format: 'pem' });
    broker.send({ jwks } satisfies Start);
    const [{ port, ca, store }] = (await once(broker, 'message')) as [Started];
    const emptyMegabytes = residentMegabytes(broker.pid!);
    // Proofs of the second in which the broker started are refused.
    await new Promise((resolve) => setTimeout(resolve, 2_000));
    progress(`${store}: opening ${sessions} sessions`);
    const crowd: Crowd = {
      port,
      ca,
      issuerKey,
      sessions,
      perSecond: OPENED_PER_SECOND,
      heartbeatSeconds: HEARTBEAT_SECONDS,
    };
    client.send(crowd);
    const [{ opened }] = (await once(client, 'message')) as [Ready];
    if (opened !== sessions) throw new Error(`only ${opened} of ${sessions} sessions opened`);
    progress(`${store}: every session beats once, then ${seconds} s are measured`);
    await new Promise((resolve) => setTimeout(resolve, (HEARTBEAT_SECONDS + 1) * 1000));
    client.send('measure');
    let megabytes = 0;
    const sample = setInterval(() => {
      megabytes = Math.max(megabytes, residentMegabytes(broker.pid!));
    }, SAMPLE_MS);
    const before = await usage(broker);
    const began = performance.now();
    await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
    const cores = ((await usage(broker)) - before) / ((performance.now() - began) * 1000);
    clearInterval(sample);
    const took = (performance.now() - began) / 1000;
    client.send('stop');
    const [{ times, failed, lapsed, connected }] = (await once(client, 'message')) as [Beaten];
    broker.send('stop');
    await once(broker, 'exit');
    return {
      store,
      sessions,
      heartbeatSeconds: HEARTBEAT_SECONDS,
      emptyMegabytes,
      megabytes,
      cores,
      failed,
      lapsed,
      heartbeatsPerSecond: times.length / took,
      connectedPerSecond: connected / took,
      p99Millis: times.toSorted((a, b) => a - b)[Math.floor(times.length * 0.99)] ?? 0,
    };
  } finally {
    broker.kill('SIGKILL');
    client.kill('SIGKILL');
  }
}

export function sessionsMissed({ megabytes, cores, failed }: SessionsResult): string[] {
  return [
    ...(megabytes > GOALS.megabytes ? [`memory is ${Math.round(megabytes)} MB, not under ${GOALS.megabytes}`] : []),
    ...(cores > GOALS.cores ? [`CPU is ${cores.toFixed(2)} of a core, not under ${GOALS.cores}`] : []),
    ...(failed > 0 ? [`${failed} heartbeats failed`] : []),
  ];
}

/** `VmRSS` of proc_pid_status(5). */
export function residentMegabytes(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024;
}

export function sessionsTable(results: readonly SessionsResult[]): string[] {
  return [
    `\nIdle sessions on one broker process, each with a heartbeat every ${HEARTBEAT_SECONDS} s over TLS:`,
    ...results.map(
      ({ store, sessions, emptyMegabytes, megabytes, cores, ...beats }) =>
        `  ${store.padEnd(11)} ${sessions} sessions: ${Math.round(megabytes)} MB resident (${Math.round(emptyMegabytes)} MB with none), ` +
        `${cores.toFixed(2)} of a core, ${beats.lapsed} lapsed; ${beats.heartbeatsPerSecond.toFixed(0)} heartbeats a second ` +
        `(${beats.connectedPerSecond.toFixed(0)} of them on a new connection), answered in ${beats.p99Millis.toFixed(1)} ms (p99)`,
    ),
  ];
}
