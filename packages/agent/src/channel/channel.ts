/**
 * The control channel of a session: a connection to an edge that renews the lease, delivers the session's configuration
 * and announces its end. The edge is not trusted. If the broker's answers stop arriving, the session's owner is
 * notified and renews over HTTPS.
 */
import type { SecureContext, TLSSocket } from 'node:tls';
import { createLineReader, type DpopKey, MeshpassError, parseJson } from '@meshpass/identity';
import {
  createLeaseProof,
  EdgeFrame,
  formatFrame,
  type LeaseStatement,
  MAX_STATEMENT_LENGTH,
} from '@meshpass/identity/channel';
import type { LeaseTransport } from '../session/credential-manager.ts';
import type { ReceivedStatement, StatementVerifier } from '../statements/statement-verifier.ts';
import { type ChannelEdge, connectToEdge } from './connect.ts';
import { createReconnectTimer } from './reconnection.ts';

export type ChannelEvent =
  /** The broker has renewed the lease. */
  | { readonly type: 'lease'; readonly lease: LeaseStatement; readonly by: LeaseTransport }
  /** The session has ended, and the channel has been closed. */
  | { readonly type: 'ended'; readonly cause: string; readonly reason: string }
  /** A new configuration has arrived. Its content is identical to the response of `GET /session/configuration`. */
  | { readonly type: 'configuration'; readonly version: number; readonly content: Buffer }
  /** A newer configuration exists, but the edge has not delivered it. It must be requested over HTTPS. */
  | { readonly type: 'configuration_missing' }
  /**
   * No lease has been acknowledged for `silentMs`. The lease must be renewed over HTTPS until a `lease` event arrives.
   */
  | { readonly type: 'silent' }
  /** The broker's statements are signed with an unknown key. The current keys must be requested over HTTPS. */
  | { readonly type: 'unknown_key' }
  /**
   * An edge that is shutting down carries tunnels of this session, and the newest of them is `newestMs` old. This
   * message is not signed.
   */
  | { readonly type: 'tunnels_draining'; readonly newestMs: number }
  /** The edge reports that it or the broker has refused the lease. This message is not signed. */
  | { readonly type: 'refused'; readonly code: string };

export interface ChannelOptions {
  /** Returns the public address of the edges, which is used for the next connection. */
  readonly edge: () => ChannelEdge;
  /**
   * Returns a TLS context with the session's SVID and the edge's root certificates, or undefined if no SVID is valid.
   */
  readonly secureContext: () => SecureContext | undefined;
  readonly sessionId: string;
  readonly key: DpopKey;
  /** Verifies the session's statements. The same verifier is used for statements that arrive over HTTPS. */
  readonly received: StatementVerifier;
  readonly heartbeatMs: number;
  /** How many milliseconds may pass without an acknowledged lease before the channel is considered silent. */
  readonly silentMs: number;
  readonly onEvent: (event: ChannelEvent) => void;
  /**
   * Returns the best estimate of the broker's time, in Unix milliseconds. The broker rejects leases that are too old or
   * dated in the future.
   */
  readonly clock?: () => number;
  /** Returns a random number between 0 and 1, which is used for jitter. */
  readonly random?: () => number;
}

export type Channel = ReturnType<typeof openChannel>;

const CONNECT_MS = 10_000;
/** The minimum time between two leases, in milliseconds. It applies even if an edge asks for leases more often. */
const LEAST_MS = 1_000;
/**
 * How long the agent may take to leave an edge that is shutting down, in milliseconds. The edge notifies all agents at
 * once and keeps serving until they have left.
 */
const LEAVE_MS = 2_000;
/**
 * If the agent leaves an edge within this many milliseconds of connecting to it, the load balancer is probably still
 * routing to that edge. The pauses between connection attempts then become longer.
 */
const SOON_MS = 5_000;
/** The number of `silentMs` periods after which the agent leaves an edge that sends data but no lease. */
const PATIENCE = 4;
/** The maximum size of a frame that does not contain a configuration, in bytes. */
const MAX_SMALL_FRAME = MAX_STATEMENT_LENGTH + 256;

/** Opens a control connection and keeps it open until the session ends or the channel is closed. */
export function openChannel(options: ChannelOptions) {
  const { sessionId, key, received, onEvent, clock = Date.now, random = Math.random } = options;
  const stop = new AbortController();
  // This is greater than any value used by a previous process, unless the clock was set back.
  let seq = clock();
  /** The difference between the broker's time in its last answer and the local time, in milliseconds. */
  let offset = 0;
  /** Whether the lease is currently being renewed over HTTPS. */
  let isPosting = false;
  /** The local time at which the last acknowledged lease was requested. `askedAt` is the same for the current lease. */
  let heardAt = clock();
  let askedAt = heardAt;
  let silent = false;
  let connectedAt = heardAt;
  let movedBefore = 0;
  let missing: number | undefined;
  let lookedAt = heardAt;
  let socket: TLSSocket | undefined;
  let leaseTimer: NodeJS.Timeout | undefined;
  let leaveTimer: NodeJS.Timeout | undefined;
  let leaseAt = Number.NEGATIVE_INFINITY;
  let unknownKeyAt = Number.NEGATIVE_INFINITY;
  const reconnection = createReconnectTimer({ signal: stop.signal, random });
  const watch = setInterval(look, Math.min(1_000, options.silentMs / 4));
  watch.unref();
  const done = run();
  return {
    /** Renews the lease through the edge as soon as possible. */
    renew: () => schedule(0),
    /**
     * Renews the lease over HTTPS, with the same counter and the same checks as over the channel.
     * @param post sends a new proof with each attempt and returns the broker's statement
     * @throws MeshpassError agent_broker_answer_invalid, or any error from `post`
     */
    renewBy,
    /**
     * Signals that the broker has responded over HTTPS. If the channel is disconnected, it then reconnects within a
     * second.
     */
    brokerAnswered: reconnection.wake,
    /** Closes the channel. Resolves once the connection has been closed. */
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
      const isMetAgain = leaveTimer !== undefined && clock() - connectedAt < SOON_MS;
      clearTimeout(leaveTimer);
      leaveTimer = undefined;
      await reconnection.pause(heardAt > before && !isMetAgain);
    }
  }

  async function serve(): Promise<void> {
    const context = options.secureContext();
    if (!context) return;
    const limit = AbortSignal.timeout(CONNECT_MS);
    const connected = await connectToEdge(options.edge(), context, AbortSignal.any([stop.signal, limit]));
    if (stop.signal.aborted) return void connected.destroy();
    socket = connected;
    connectedAt = clock();
    // Lines are limited to the size that is currently expected, because the broker has announced the size of the
    // configuration.
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
    const frame = EdgeFrame.safeParse(parseJson(line)).data;
    switch (frame?.type) {
      case 'statement':
        believe(received.statement(frame.statement), from);
        return;
      case 'configuration':
        believe(received.content(frame.digest, frame.content), from);
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

  /** @param from the connection to the edge. Undefined if the answer arrived over HTTPS */
  function believe(belief: ReceivedStatement, from?: TLSSocket): void {
    switch (belief.type) {
      case 'lease':
        // The estimate is never ahead of the broker's clock, because it does not compensate for the transit time.
        offset = belief.lease.at - clock();
        if (from) {
          // The lease period starts when the lease was requested, because the edge may have delayed the answer.
          heardAt = askedAt;
          silent = false;
          schedule(options.heartbeatMs * (0.9 + random() / 10));
        }
        onEvent({ ...belief, by: from ? 'channel' : 'https' });
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
        lackKey();
        return;
      case 'stale':
        return;
      case 'forged':
        from?.destroy();
    }
  }

  function lackKey(): void {
    // The event is rate-limited, because each one costs a request and an edge can trigger it at will.
    if (performance.now() < unknownKeyAt + options.heartbeatMs) return;
    unknownKeyAt = performance.now();
    onEvent({ type: 'unknown_key' });
  }

  async function renewBy(post: (proof: () => string) => Promise<string>): Promise<void> {
    if (stop.signal.aborted) return;
    // No lease is sent through the edge during this request, because only the answer to the latest lease is accepted.
    isPosting = true;
    let attempts = 0;
    const statement = await post(() => {
      // Once the first attempt has failed, the HTTPS client has already corrected the clock.
      if (attempts++ > 0) offset = 0;
      return proveLease();
    }).finally(() => {
      isPosting = false;
    });
    if (stop.signal.aborted) return;
    const belief = received.statement(statement);
    if (belief.type !== 'lease' && belief.type !== 'ended' && belief.type !== 'unknown_key') {
      throw new MeshpassError(
        'agent_broker_answer_invalid',
        "The agent rejected the broker's response: it is not a signed statement about this lease.",
      );
    }
    believe(belief);
    if (belief.type === 'lease' && received.missing() !== undefined) onEvent({ type: 'configuration_missing' });
  }

  function fetch(): void {
    const wanted = received.wanted();
    if (wanted) socket?.write(formatFrame({ type: 'configuration', digest: wanted.digest }));
  }

  /** Schedules the next lease, unless it is sent earlier for another reason. */
  function schedule(ms: number): void {
    clearTimeout(leaseTimer);
    const due = Math.max(ms, leaseAt + LEAST_MS - performance.now());
    leaseTimer = setTimeout(lease, Math.max(0, due)).unref();
  }

  function lease(): void {
    if (!socket || stop.signal.aborted) return;
    if (isPosting) {
      schedule(LEAST_MS);
      return;
    }
    leaseAt = performance.now();
    askedAt = clock();
    socket.write(formatFrame({ type: 'lease', proof: proveLease() }));
    // If no answer arrives, the agent tries again before the lease is at risk.
    schedule(options.heartbeatMs);
  }

  function proveLease(): string {
    seq++;
    received.sent(seq);
    return createLeaseProof({ sid: sessionId, seq, at: clock() + offset }, key);
  }

  /** Shifts all recorded times if the local clock was set back. Otherwise, silence would be detected too late. */
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
    // The agent tries another edge, unless a configuration is still arriving over a slow connection.
    const waited = clock() - Math.max(heardAt, connectedAt);
    const moved = socket?.bytesRead ?? 0;
    if (waited > options.silentMs * (moved > movedBefore ? PATIENCE : 1)) socket?.destroy();
    movedBefore = moved;
    if (received.missing() === undefined) missing = undefined;
    else {
      missing ??= clock();
      if (clock() - missing < options.silentMs) return;
      missing = clock();
      onEvent({ type: 'configuration_missing' });
    }
  }
}
