/**
 * The control channel of a session: one connection to an edge that renews the lease, and brings the session's configuration and
 * its end. The edge is not trusted. When the broker's answers stay away the session's owner is told, and renews over HTTPS.
 */
import type { SecureContext, TLSSocket } from 'node:tls';
import {
  createLeaseProof,
  EdgeFrame,
  formatFrame,
  type LeaseStatement,
  MAX_STATEMENT,
  type StatementKey,
} from '@meshpass/identity/channel/index';
import type { DpopKey } from '@meshpass/identity/dpop';
import { type ChannelEdge, connectControl } from './connect.ts';
import { createLineReader } from './lines.ts';
import { type Belief, createReceived } from './received.ts';
import { createReconnection } from './reconnection.ts';

export type ChannelEvent =
  /** The broker renewed the lease. */
  | { readonly type: 'lease'; readonly lease: LeaseStatement }
  /** The session is over: the channel is closed. */
  | { readonly type: 'ended'; readonly cause: string; readonly reason: string }
  /** A new configuration, as `GET /session/configuration` would answer it. */
  | { readonly type: 'configuration'; readonly version: number; readonly content: Buffer }
  /** There is a newer configuration, and no edge brings it: ask for it over HTTPS. */
  | { readonly type: 'configuration_missing'; readonly version: number }
  /** No lease was acknowledged for `silentMs`: renew over HTTPS until `lease` comes. */
  | { readonly type: 'silent' }
  /** The broker's statements are signed with a key that is not known: ask for the keys over HTTPS. */
  | { readonly type: 'unknown_key' }
  /** Nobody's word: an edge that is about to end carries tunnels of the session; the newest is so many ms old. */
  | { readonly type: 'tunnels_draining'; readonly newestMs: number }
  /** Nobody's word: an edge says that it, or the broker, refused. */
  | { readonly type: 'refused'; readonly code: string };

export interface ChannelOptions {
  /** As they are now; tried in this order, and those that brought nothing last. */
  readonly edges: () => readonly ChannelEdge[];
  /** With the session's SVID, and what the edge's certificate is verified by; undefined while there is no valid SVID. */
  readonly secureContext: () => SecureContext | undefined;
  readonly sessionId: string;
  readonly key: DpopKey;
  /** What the broker gave over HTTPS; another array when they are others. */
  readonly statementKeys: () => readonly StatementKey[];
  readonly heartbeatMs: number;
  /** Without an acknowledged lease for so long the channel is silent. */
  readonly silentMs: number;
  /** The configuration that the agent has taken last, by this channel or over HTTPS, and what became of it. */
  readonly configuration: () => { readonly version: number; readonly state: 'applied' | 'refused' } | undefined;
  readonly onEvent: (event: ChannelEvent) => void;
  /** Unix ms, as the broker has it, as far as is known: a lease that is too old by the broker's clock, or from its future, is refused. */
  readonly clock?: () => number;
  /** 0 to 1, for the jitter. */
  readonly random?: () => number;
}

export interface Channel {
  /** Renews the lease now, to acknowledge a configuration. */
  renew(): void;
  /** The broker has answered over HTTPS: where there is no connection, the next attempt comes within a second. */
  brokerAnswered(): void;
  /** Resolves when the connection is gone. */
  close(): Promise<void>;
}

const CONNECT_MS = 10_000;
/** Least time between two leases, ms: an edge that calls for them gets no more. */
const LEAST_MS = 1_000;
/** An edge that is about to end is left within this time, ms: it tells all of its agents in one moment, and goes on serving. */
const LEAVE_MS = 2_000;
/** Where one is left so soon after it was met, the load balancer still leads there: it is met again ever later, ms. */
const SOON_MS = 5_000;
/** An edge that brings bytes, and no lease, is left after so many times `silentMs`. */
const PATIENCE = 4;
/** Longest frame that is no configuration, bytes. */
const MAX_SMALL_FRAME = MAX_STATEMENT + 256;

/** Keeps a control connection until the session ends, or it is closed. */
export function openChannel(options: ChannelOptions): Channel {
  const { sessionId, key, onEvent, clock = Date.now, random = Math.random } = options;
  const stop = new AbortController();
  const received = createReceived({
    sessionId,
    keys: options.statementKeys,
    heldVersion: () => options.configuration()?.version ?? 0,
  });
  // Greater than in the process before this one, as long as no clock is set back.
  let seq = clock();
  /** The broker's clock as its last answer had it, less this one, ms. */
  let offset = 0;
  /** When the last lease was asked for that the broker acknowledged, by this clock; that of the one asked for now. */
  let heardAt = clock();
  let askedAt = heardAt;
  let silent = false;
  let connectedAt = heardAt;
  let movedBefore = 0;
  let missing: number | undefined;
  let lookedAt = heardAt;
  let turn = 0;
  let socket: TLSSocket | undefined;
  let leaseTimer: NodeJS.Timeout | undefined;
  let leaveTimer: NodeJS.Timeout | undefined;
  let leaseAt = Number.NEGATIVE_INFINITY;
  let unknownKeyAt = Number.NEGATIVE_INFINITY;
  const reconnection = createReconnection({ signal: stop.signal, random });
  const watch = setInterval(look, Math.min(1_000, options.silentMs / 4));
  watch.unref();
  const done = run();
  return {
    renew: () => schedule(0),
    brokerAnswered: reconnection.wake,
    async close() {
      end();
      await done;
    },
  };

  function end(): void {
    stop.abort();
    clearInterval(watch);
    clearTimeout(leaseTimer);
    clearTimeout(leaveTimer);
    socket?.destroy();
  }

  async function run(): Promise<void> {
    while (!stop.signal.aborted) {
      const before = heardAt;
      await serve().catch(() => {});
      if (stop.signal.aborted) return;
      // Whoever brought nothing is tried last.
      turn++;
      const isMetAgain = leaveTimer !== undefined && clock() - connectedAt < SOON_MS;
      clearTimeout(leaveTimer);
      leaveTimer = undefined;
      await reconnection.pause(heardAt > before && !isMetAgain);
    }
  }

  async function serve(): Promise<void> {
    const context = options.secureContext();
    if (!context) return;
    const edges = options.edges();
    const first = turn % Math.max(1, edges.length);
    const inTurn = [...edges.slice(first), ...edges.slice(0, first)];
    const connected = await connectControl(inTurn, context, CONNECT_MS, stop.signal);
    if (stop.signal.aborted) return void connected.destroy();
    socket = connected;
    connectedAt = clock();
    // No more than what is expected now: a configuration is as long as the broker said.
    const lines = createLineReader(() => MAX_SMALL_FRAME + Math.ceil((received.wanted()?.size ?? 0) / 3) * 4);
    connected.on('data', (chunk: Buffer) => {
      if (!lines.push(chunk, (line) => take(connected, line))) connected.destroy();
    });
    schedule(0);
    await new Promise((resolve) => connected.once('close', resolve).once('end', () => connected.destroy()));
    socket = undefined;
  }

  function take(from: TLSSocket, line: string): void {
    if (from.destroyed) return;
    const frame = parse(line);
    switch (frame?.type) {
      case 'statement':
        believe(from, received.statement(frame.statement));
        return;
      case 'configuration':
        believe(from, received.content(frame.digest, frame.content));
        return;
      case 'changed':
        schedule(0);
        return;
      case 'draining':
        leaveTimer ??= setTimeout(() => from.destroy(), random() * LEAVE_MS).unref();
        return;
      case 'tunnels_draining':
        onEvent({ type: 'tunnels_draining', newestMs: frame.newest_ms });
        return;
      case 'refused':
        onEvent({ type: 'refused', code: frame.error_code });
        schedule(LEAST_MS * (1 + random()));
        return;
      default:
        from.destroy();
    }
  }

  function believe(from: TLSSocket, belief: Belief): void {
    switch (belief.type) {
      case 'lease':
        // Not when the answer came: the lease counts from what was said, and an edge may have kept the answer back.
        heardAt = askedAt;
        // Never ahead: the way back is not taken off.
        offset = belief.lease.at - clock();
        silent = false;
        schedule(options.heartbeatMs * (0.9 + random() / 10));
        onEvent(belief);
        fetch();
        return;
      case 'ended':
        onEvent({ type: 'ended', cause: belief.ended.cause, reason: belief.ended.reason });
        end();
        return;
      case 'announced':
        fetch();
        return;
      case 'unsure':
        schedule(0);
        return;
      case 'configuration':
        onEvent(belief);
        return;
      case 'unknown_key':
        // An edge can say so as often as it likes; the answer costs a request.
        if (performance.now() < unknownKeyAt + options.heartbeatMs) return;
        unknownKeyAt = performance.now();
        onEvent(belief);
        return;
      case 'stale':
        return;
      case 'forged':
        from.destroy();
    }
  }

  function fetch(): void {
    const wanted = received.wanted();
    if (wanted) socket?.write(formatFrame({ type: 'configuration', digest: wanted.digest }));
  }

  /** The next lease goes out in so many ms, if none goes before. */
  function schedule(ms: number): void {
    clearTimeout(leaseTimer);
    const due = Math.max(ms, leaseAt + LEAST_MS - performance.now());
    leaseTimer = setTimeout(lease, Math.max(0, due)).unref();
  }

  function lease(): void {
    if (!socket || stop.signal.aborted) return;
    leaseAt = performance.now();
    seq++;
    const configuration = options.configuration();
    askedAt = clock();
    const claims = { sid: sessionId, seq, at: askedAt + offset, ...(configuration && { configuration }) };
    received.sent(seq);
    socket.write(formatFrame({ type: 'lease', proof: createLeaseProof(claims, key) }));
    // An answer that stays away: ask again, before the lease is in danger.
    schedule(options.heartbeatMs);
  }

  /** Where this clock was set back, what it said before counts from there: else silence would come as much later. */
  function followClock(): void {
    const back = Math.max(0, lookedAt - clock());
    heardAt -= back;
    askedAt -= back;
    connectedAt -= back;
    if (missing !== undefined) missing -= back;
    offset += back;
    lookedAt = clock();
  }

  function look(): void {
    followClock();
    if (!silent && clock() - heardAt > options.silentMs) {
      silent = true;
      onEvent({ type: 'silent' });
    }
    // Another edge may do better; but a configuration that is still coming over a slow line is waited for.
    const waited = clock() - Math.max(heardAt, connectedAt);
    const moved = socket?.bytesRead ?? 0;
    if (waited > options.silentMs * (moved > movedBefore ? PATIENCE : 1)) socket?.destroy();
    movedBefore = moved;
    const current = received.currentVersion() ?? 0;
    if (current <= received.takenVersion()) missing = undefined;
    else {
      missing ??= clock();
      if (clock() - missing < options.silentMs) return;
      missing = clock();
      onEvent({ type: 'configuration_missing', version: current });
    }
  }
}

function parse(line: string): EdgeFrame | undefined {
  try {
    return EdgeFrame.safeParse(JSON.parse(line)).data;
  } catch {
    return undefined;
  }
}
