/** Connections through the edge that are open when the session ends, and when each of them dies. */
import { connect as connectHttp2 } from 'node:http2';
import type { TLSSocket } from 'node:tls';
import type { DrillRow } from '@meshpass/identity/drill-report';
import { MeshpassError } from '@meshpass/identity/error';
import type { MeshInfo } from '@meshpass/identity/wire';
import type { Patience } from './attempt.ts';
import { FIRST_BYTE, orderFor, requestText } from './call.ts';
import type { Loot } from './credentials.ts';
import { shortName, type Target } from './targets.ts';
import { exchange, type OpenTunnel, openTunnel, stillOpen } from './tunnel.ts';

const STREAM_PATIENCE_MS = 5_000;

export interface HeldOpen {
  readonly tried: string;
  /** Instant of its death (performance.now()), undefined while it lives. */
  readonly diedAt: () => number | undefined;
  /** How it lived, for the report. */
  readonly how: () => string;
  readonly end: () => void;
}

/** What could not be opened, with the reason. */
export interface NotHeld {
  readonly tried: string;
  readonly why: string;
}

/** @throws MeshpassError `drill_proves_nothing` where a granted service refuses what a live session asks */
export async function holdOpen(
  loot: Loot,
  mesh: MeshInfo,
  { http, tcp }: { readonly http: Target | undefined; readonly tcp: Target | undefined },
  patience: Patience,
): Promise<readonly (HeldOpen | NotHeld)[]> {
  const none = 'no granted service of this kind has a workload';
  return await Promise.all([
    http
      ? steady(() => keepAlive(loot, mesh, http, patience), patience)
      : { tried: 'open HTTP/1.1 keep-alive connection', why: none },
    http ? steady(() => http2(loot, mesh, http), patience) : { tried: 'open HTTP/2 stream', why: none },
    tcp ? steady(() => rawTcp(loot, mesh, tcp, patience), patience) : { tried: 'open TCP connection', why: none },
  ]);
}

/**
 * An Envoy whose policies have just changed winds up the connections that it has, also one that is being opened: another
 * attempt meets the new ones.
 */
async function steady(
  open: () => Promise<HeldOpen | NotHeld>,
  { limit, between }: Patience,
): Promise<HeldOpen | NotHeld> {
  const deadline = performance.now() + limit;
  for (;;) {
    const one = await open().catch((thrown: unknown) => {
      if (thrown instanceof MeshpassError || performance.now() > deadline) throw thrown;
      return undefined;
    });
    if (one && (!('diedAt' in one) || one.diedAt() === undefined || performance.now() > deadline)) return one;
    if (one && 'end' in one) one.end();
    await between();
  }
}

/** Waits until all are dead or the limit has passed. */
export async function whenDead(
  held: readonly (HeldOpen | NotHeld)[],
  cause: number,
  limit: number,
): Promise<DrillRow[]> {
  const open = held.filter((one) => 'diedAt' in one);
  while (open.some((one) => one.diedAt() === undefined) && performance.now() < cause + limit)
    await new Promise((resolve) => setTimeout(resolve, 10));
  return held.map((one): DrillRow => {
    const about = { part: 'connections', layer: 'edge', tried: one.tried } as const;
    if (!('diedAt' in one)) return { ...about, outcome: 'not_tried', how: one.why.slice(0, 300) };
    const at = one.diedAt();
    if (at === undefined) return { ...about, outcome: 'stale', how: `still open; ${one.how()}`, limit_ms: limit };
    const ms = Math.max(0, Math.round(at - cause));
    return { ...about, outcome: 'dead', how: `ended; ${one.how()}`, ms, limit_ms: limit };
  });
}

async function keepAlive(loot: Loot, mesh: MeshInfo, target: Target, patience: Patience): Promise<HeldOpen> {
  const opened = await mustOpen(loot, mesh, target, patience);
  const ask = async (): Promise<string> => {
    const answer = await exchange(opened.socket, requestText(loot, mesh, target, true)).catch((error: Error) => {
      opened.end();
      throw error;
    });
    if (/\r\nconnection: *close\r\n/i.test(answer)) throw new Error('the connection is being wound up');
    return answer.split('\r\n', 1)[0] ?? '';
  };
  const first = await ask();
  if (/ 40[13] /.test(first)) {
    opened.end();
    throw provesNothing(target, first);
  }
  await ask();
  return held(opened, `open HTTP/1.1 keep-alive, ${shortName(target)}`, () => '2 requests had been served on it');
}

async function http2(loot: Loot, mesh: MeshInfo, target: Target): Promise<HeldOpen | NotHeld> {
  const tried = `open HTTP/2 stream, ${shortName(target)}`;
  const opened = await openTunnel(loot, {
    ...orderFor(target, { edge: mesh.edge }, true),
    alpn: ['istio-h2', 'istio', 'h2'],
  });
  if (!('socket' in opened)) throw provesNothing(target, opened.edgeCode ?? opened.error ?? 'refused');
  const { socket } = opened;
  if (!/h2$/.test(socket.alpnProtocol || '')) {
    opened.end();
    return { tried, why: `${target.authority} does not speak HTTP/2 (ALPN ${socket.alpnProtocol || 'none'})` };
  }
  const session = connectHttp2(`https://${target.authority}`, { createConnection: () => socket });
  session.on('error', () => undefined);
  let served = 0;
  const ask = () => {
    const stream = session.request({
      ...{ ':method': 'GET', ':path': target.path!, [mesh.token_header]: loot.identityToken },
    });
    const status = new Promise<number>((resolve, reject) => {
      stream.on('response', (headers) => {
        served += 1;
        resolve(headers[':status'] ?? 0);
      });
      stream.on('error', reject);
      stream.on('close', () => reject(new Error('the stream was closed without an answer')));
      stream.setTimeout(STREAM_PATIENCE_MS, () => reject(new Error('no answer to a stream')));
    });
    return { stream, status };
  };
  const first = ask();
  first.stream.resume();
  const answer = await first.status.catch((error: Error) => error);
  if (answer instanceof Error || answer === 401 || answer === 403) {
    session.destroy();
    opened.end();
    return { tried, why: answer instanceof Error ? `HTTP/2 was not answered: ${answer.message}` : `HTTP ${answer}` };
  }
  // No room for the body of the next answer: its stream stays open, whatever the service is.
  await new Promise<void>((resolve, reject) => {
    session.once('close', () => reject(new Error('the connection was wound up')));
    session.settings({ initialWindowSize: 0 }, () => resolve());
  });
  const open = ask();
  await open.status.catch(() => undefined);
  open.stream.setTimeout(0);
  const streamLives = !open.stream.closed && !open.stream.readableEnded;
  return held(
    opened,
    streamLives ? tried : tried.replace('stream', 'connection'),
    () => `${served} streams had been answered on it`,
    () => session.destroy(),
  );
}

async function rawTcp(loot: Loot, mesh: MeshInfo, target: Target, patience: Patience): Promise<HeldOpen> {
  const opened = await mustOpen(loot, mesh, target, patience);
  await stillOpen(opened.socket, FIRST_BYTE).catch((error: Error) => {
    throw provesNothing(target, error.message);
  });
  return held(opened, `open TCP connection, ${shortName(target)}`, () => 'it was open to the workload');
}

async function mustOpen(loot: Loot, mesh: MeshInfo, target: Target, { limit, between }: Patience): Promise<OpenTunnel> {
  const deadline = performance.now() + limit;
  for (;;) {
    const opened = await openTunnel(loot, orderFor(target, { edge: mesh.edge }, true));
    if ('socket' in opened) return opened;
    if (performance.now() > deadline) throw provesNothing(target, opened.edgeCode ?? opened.error ?? 'refused');
    await between();
  }
}

function held({ socket, end }: OpenTunnel, tried: string, how: () => string, before?: () => void): HeldOpen {
  let diedAt: number | undefined = socket.destroyed ? performance.now() : undefined;
  const died = () => {
    diedAt ??= performance.now();
  };
  for (const event of ['end', 'close', 'error'] as const) (socket as TLSSocket).on(event, died);
  return {
    tried,
    diedAt: () => diedAt,
    how,
    end: () => {
      before?.();
      end();
    },
  };
}

function provesNothing(target: Target, how: string): MeshpassError {
  return new MeshpassError(
    'drill_proves_nothing',
    `${target.authority} refuses a live session already (${how}), so nothing would be proven by what it refuses later. ` +
      'Name a call that is granted with --service and --path.',
  );
}
