/**
 * Keeps connections open while the session ends, both through the edge and from inside the cluster, and measures when
 * each of them is closed.
 */
import { connect as connectHttp2 } from 'node:http2';
import type { TLSSocket } from 'node:tls';
import { MeshpassError } from '@meshpass/identity';
import type { DrillLayer, DrillRow } from '@meshpass/identity/drill-report';
import { limitAt, type RetryOptions, repeatUntil, row } from './attempt.ts';
import { type Caller, createTunnelRequest, formatRequest, PROBE_BYTE, type Way } from './call.ts';
import { shortName, type Target } from './targets.ts';
import { type OpenTunnel, openTunnel, sendAndRead, waitForClose } from './tunnel.ts';

const STREAM_PATIENCE_MS = 5_000;

export interface HeldConnection {
  readonly layer: DrillLayer;
  readonly tried: string;
  /** When the connection ended, as returned by performance.now(). Undefined while the connection is open. */
  readonly diedAt: () => number | undefined;
  /** Returns a description of how the connection behaved, for the report. */
  readonly how: () => string;
  readonly end: () => void;
}

/** A connection that could not be opened, and the reason why. */
export interface FailedConnection {
  readonly layer: DrillLayer;
  readonly tried: string;
  readonly why: string;
}

/** The session to open connections for, and the route they take. */
export interface Hold {
  readonly caller: Caller;
  readonly layer: 'edge' | 'mesh gateway' | 'sidecar';
  readonly way: Way;
  readonly patience: RetryOptions;
}

/**
 * Opens one connection of each kind that the target supports.
 * @throws MeshpassError `drill_proves_nothing` if a granted service refuses a live session
 */
export async function holdConnections(
  hold: Hold,
  target: Target,
): Promise<readonly (HeldConnection | FailedConnection)[]> {
  const kinds = target.path === undefined ? [rawTcp] : [keepAlive, http2];
  return await Promise.all(kinds.map((open) => steady(() => open(hold, target), hold.patience)));
}

/**
 * Opens a connection, and retries until it stays open. After a policy change, Envoy drains its connections, including
 * any that are just being opened. A retry reaches the new listener.
 */
async function steady(
  open: () => Promise<HeldConnection | FailedConnection>,
  { limit, between }: RetryOptions,
): Promise<HeldConnection | FailedConnection> {
  const deadline = performance.now() + limit;
  for (;;) {
    const one = await open().catch((thrown: unknown) => {
      if (performance.now() > deadline) throw thrown;
      return undefined;
    });
    if (one && (!('diedAt' in one) || one.diedAt() === undefined || performance.now() > deadline)) return one;
    if (one && 'end' in one) one.end();
    await between();
  }
}

/**
 * Waits until all connections have ended or the time limit of their layer has passed. When the mesh denies the session,
 * Istio refuses new connections that bypass the edge, but drains the existing ones only within Envoy's drain time. If
 * such connections are still open, they are noted in the report and do not fail the drill.
 * @param edgeLimit the time limit of the edge, in milliseconds
 */
export async function waitUntilDead(
  held: readonly (HeldConnection | FailedConnection)[],
  cause: number,
  edgeLimit: number,
): Promise<DrillRow[]> {
  const isAwaited = (one: HeldConnection | FailedConnection) =>
    'diedAt' in one && one.diedAt() === undefined && performance.now() < cause + limitAt(one.layer, edgeLimit);
  while (held.some(isAwaited)) await new Promise((resolve) => setTimeout(resolve, 10));
  return held.map((one): DrillRow => {
    if (!('diedAt' in one)) return row('connections', one, 'not_tried', one.why);
    const limit = limitAt(one.layer, edgeLimit);
    const at = one.diedAt();
    // A connection that ended later was still open when its time limit passed.
    if (at !== undefined && at <= cause + limit) {
      const ms = Math.max(0, Math.round(at - cause));
      return { ...row('connections', one, 'dead', `ended; ${one.how()}`), ms, limit_ms: limit };
    }
    if (one.layer === 'edge')
      return { ...row('connections', one, 'stale', `still open; ${one.how()}`), limit_ms: limit };
    const why = `still open after ${limit / 1000} s: Istio drains it only if the mesh denies the session`;
    return row('connections', one, 'noted', why);
  });
}

async function keepAlive(hold: Hold, target: Target): Promise<HeldConnection> {
  const { caller } = hold;
  const opened = await mustOpen(hold, target);
  const ask = async (): Promise<string> => {
    const answer = await sendAndRead(opened.socket, formatRequest(caller, target, true)).catch((error: Error) => {
      opened.end();
      throw error;
    });
    if (/\r\nconnection: *close\r\n/i.test(answer)) throw new Error('the connection is shutting down');
    return answer.split('\r\n', 1)[0] ?? '';
  };
  const first = await ask();
  if (/ 40[13] /.test(first)) {
    opened.end();
    throw provesNothing(target, first);
  }
  await ask();
  return held(hold, opened, `open HTTP/1.1 keep-alive, ${shortName(target)}`, () => '2 requests had been served on it');
}

async function http2(hold: Hold, target: Target): Promise<HeldConnection | FailedConnection> {
  const { caller, layer, way } = hold;
  const tried = `open HTTP/2 stream, ${shortName(target)}`;
  const opened = await openTunnel(caller, {
    ...createTunnelRequest(target, way, true),
    alpn: ['istio-h2', 'istio', 'h2'],
  });
  if (!('socket' in opened)) throw provesNothing(target, opened.edgeCode ?? opened.error ?? 'refused');
  const { socket } = opened;
  if (!/h2$/.test(socket.alpnProtocol || '')) {
    opened.end();
    return { layer, tried, why: `${target.authority} does not speak HTTP/2 (ALPN ${socket.alpnProtocol || 'none'})` };
  }
  const session = connectHttp2(`https://${target.authority}`, { createConnection: () => socket });
  session.on('error', () => undefined);
  let served = 0;
  const ask = () => {
    const stream = session.request({
      ':method': 'GET',
      ':path': target.path!,
      [caller.mesh.token_header]: caller.identityToken.value,
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
    if (!(answer instanceof Error)) throw provesNothing(target, `HTTP ${answer}`);
    return { layer, tried, why: `HTTP/2 was not answered: ${answer.message}` };
  }
  // Set the flow-control window to 0, so that the body of the next response cannot be sent and its stream stays open.
  await new Promise<void>((resolve, reject) => {
    session.once('close', () => reject(new Error('the connection was shut down')));
    session.settings({ initialWindowSize: 0 }, () => resolve());
  });
  const open = ask();
  await open.status.catch(() => undefined);
  open.stream.setTimeout(0);
  const streamLives = !open.stream.closed && !open.stream.readableEnded;
  return held(
    hold,
    opened,
    streamLives ? tried : tried.replace('stream', 'connection'),
    () => `${served} streams had been answered on it`,
    () => session.destroy(),
  );
}

async function rawTcp(hold: Hold, target: Target): Promise<HeldConnection> {
  const opened = await mustOpen(hold, target);
  await waitForClose(opened.socket, PROBE_BYTE).catch((error: Error) => {
    throw provesNothing(target, error.message);
  });
  return held(hold, opened, `open TCP connection, ${shortName(target)}`, () => 'it was open to the workload');
}

async function mustOpen({ caller, way, patience }: Hold, target: Target): Promise<OpenTunnel> {
  const open = () => openTunnel(caller, createTunnelRequest(target, way, true));
  const opened = await repeatUntil(open, (one) => 'socket' in one, patience);
  if ('socket' in opened) return opened;
  throw provesNothing(target, opened.edgeCode ?? opened.error ?? 'refused');
}

/** Tracks an open connection until it ends. */
export function held(
  { layer }: Pick<Hold, 'layer'>,
  { socket, end }: OpenTunnel,
  tried: string,
  how: () => string,
  before?: () => void,
): HeldConnection {
  let diedAt: number | undefined = socket.destroyed ? performance.now() : undefined;
  const died = () => {
    diedAt ??= performance.now();
  };
  for (const event of ['end', 'close', 'error'] as const) (socket as TLSSocket).on(event, died);
  return {
    layer,
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
    `${target.authority} already refuses a live session (${how}), so a later refusal would prove nothing. ` +
      'Pass a granted call as --service and --path.',
  );
}
