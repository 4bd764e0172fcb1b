/**
 * Cost of idle sessions for broker and edge if leases come over control connections: each agent has one to the edge, and
 * renews its lease every 15 s. Broker and edge are processes of their own with their real listeners; issuer and mesh are simulated.
 * The clients are another process, and are not counted.
 *   npm run bench -- channel [--sessions N] [--seconds N]
 */
import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { availableParallelism } from 'node:os';
import { postgresIsThere, startPostgres } from '../../packages/broker/test/harness/postgres.ts';
import { pinned, usage } from '../exchange/bench.ts';
import type { Start, Started } from '../exchange/broker.ts';
import { HEARTBEAT_SECONDS, residentMegabytes } from '../sessions/bench.ts';
import type { ChannelCrowd, ChannelReady, Hello, Renewed } from './client.ts';
import type { EdgeStart, EdgeStarted } from './edge.ts';

export interface Part {
  /** Resident memory before any session, and at its highest while leases are renewed, MB. */
  readonly emptyMegabytes: number;
  readonly megabytes: number;
  /** Share of one core, 0 to 1. */
  readonly cores: number;
}

export interface ChannelResult extends Renewed {
  readonly store: string;
  readonly sessions: number;
  readonly seconds: number;
  readonly broker: Part;
  readonly edge: Part;
}

/** Broker and edge together, for 10,000 sessions. */
export const CHANNEL_GOALS = { megabytes: 1_200, cores: 1 } as const;
const AS_DEPLOYED = { NODE_OPTIONS: '--max-semi-space-size=8', MALLOC_ARENA_MAX: '2' } as const;
const EDGE_TOKEN = 'edge-token-of-the-benchmark';
const OPENED_PER_SECOND = 60;
const SAMPLE_MS = 500;

export interface ChannelBenchOptions {
  readonly sessions: number;
  /** Duration of the measurement, s. */
  readonly seconds: number;
  readonly progress: (line: string) => void;
}

/** PostgreSQL if available, whose own work is not counted; the embedded store otherwise. */
export async function benchChannel(options: ChannelBenchOptions): Promise<ChannelResult> {
  if (!postgresIsThere) return await onOneStore(options, undefined);
  const postgres = startPostgres();
  try {
    return await onOneStore(options, postgres.url);
  } finally {
    postgres.stop();
  }
}

async function onOneStore(
  { sessions, seconds, progress }: ChannelBenchOptions,
  databaseUrl: string | undefined,
): Promise<ChannelResult> {
  const env = { ...AS_DEPLOYED, BENCH_EDGE_TOKEN: EDGE_TOKEN, DATABASE_URL: databaseUrl };
  const broker = pinned('../exchange/broker.ts', 0, env);
  const edge = pinned('../channel/edge.ts', availableParallelism() > 1 ? 1 : 0, AS_DEPLOYED);
  const client = pinned('../channel/client.ts', availableParallelism() > 1 ? 1 : 0);
  try {
    const [hello] = (await once(client, 'message')) as [Hello];
    const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const jwks = { keys: [{ ...publicKey.export({ format: 'jwk' }), kid: 'bench', alg: 'RS256', use: 'sig' }] };
    broker.send({ jwks } satisfies Start);
    const [{ port, ca, store }] = (await once(broker, 'message')) as [Started];
    edge.send({ ...hello, brokerPort: port, brokerCa: ca, token: EDGE_TOKEN } satisfies EdgeStart);
    const [{ port: edgePort }] = (await once(edge, 'message')) as [EdgeStarted];
    const parts = { broker, edge };
    const empty = { broker: residentMegabytes(broker.pid!), edge: residentMegabytes(edge.pid!) };
    // Proofs of the second in which the broker started are refused.
    await new Promise((resolve) => setTimeout(resolve, 2_000));
    progress(`${store}: opening ${sessions} sessions and their control connections`);
    const crowd: ChannelCrowd = {
      brokerPort: port,
      brokerCa: ca,
      edgePort,
      sessions,
      perSecond: OPENED_PER_SECOND,
      issuerKey: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
      heartbeatSeconds: HEARTBEAT_SECONDS,
    };
    client.send(crowd);
    const [{ opened }] = (await once(client, 'message')) as [ChannelReady];
    if (opened !== sessions) throw new Error(`only ${opened} of ${sessions} sessions have a lease by their channel`);
    await new Promise((resolve) => setTimeout(resolve, HEARTBEAT_SECONDS * 1000));
    progress(`${store}: ${seconds} s are measured`);
    client.send('measure');
    const highest = { broker: 0, edge: 0 };
    const sample = setInterval(() => {
      for (const part of ['broker', 'edge'] as const)
        highest[part] = Math.max(highest[part], residentMegabytes(parts[part].pid!));
    }, SAMPLE_MS);
    const before = { broker: await usage(broker), edge: await usage(edge) };
    const began = performance.now();
    await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
    const took = (performance.now() - began) * 1000;
    const after = { broker: await usage(broker), edge: await usage(edge) };
    clearInterval(sample);
    client.send('stop');
    const [renewed] = (await once(client, 'message')) as [Renewed];
    const part = (name: 'broker' | 'edge'): Part => ({
      emptyMegabytes: empty[name],
      megabytes: highest[name],
      cores: (after[name] - before[name]) / took,
    });
    return { ...renewed, store, sessions, seconds: took / 1e6, broker: part('broker'), edge: part('edge') };
  } finally {
    for (const child of [broker, edge, client]) child.kill('SIGKILL');
  }
}

export function channelMissed({ broker, edge, silent, ended }: ChannelResult): string[] {
  const megabytes = broker.megabytes + edge.megabytes;
  const cores = broker.cores + edge.cores;
  return [
    ...(megabytes > CHANNEL_GOALS.megabytes
      ? [`memory is ${Math.round(megabytes)} MB, not under ${CHANNEL_GOALS.megabytes}`]
      : []),
    ...(cores > CHANNEL_GOALS.cores ? [`CPU is ${cores.toFixed(2)} of a core, not under ${CHANNEL_GOALS.cores}`] : []),
    ...(silent + ended > 0 ? [`${silent} channels fell silent, ${ended} sessions ended`] : []),
  ];
}

export function channelTable({ store, sessions, seconds, leases, refused, broker, edge }: ChannelResult): string[] {
  const line = (name: string, { emptyMegabytes, megabytes, cores }: Part) =>
    `  ${name.padEnd(8)} ${Math.round(megabytes)} MB resident (${Math.round(emptyMegabytes)} MB with none, ` +
    `${(((megabytes - emptyMegabytes) * 1024) / sessions).toFixed(1)} KB a session), ${cores.toFixed(2)} of a core`;
  return [
    `\n${sessions} idle sessions with a control connection each, a lease every ${HEARTBEAT_SECONDS} s (${store}):`,
    line('broker', broker),
    line('edge', edge),
    `  ${(leases / seconds).toFixed(0)} leases a second acknowledged, ${refused} refused`,
  ];
}
