/**
 * A connection to the edge, from accept to close. It passes through the stages handshake, warm, head, dial, hello and
 * open. Control connections and refused ones leave this sequence. Each stage has a deadline. The edge's sweep compares
 * the deadlines with the clock, so that connections do not need their own timers.
 */
import { randomUUID } from 'node:crypto';
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { type ErrorCode, MeshpassError } from '@meshpass/identity';
import { CONTROL_ALPN, type EdgeDecision } from '@meshpass/identity/channel';
import type { ControlHub } from '../control/hub.ts';
import { type LiveSession, mayReach, type SessionDirectory } from '../directory.ts';
import type { EdgeLimits } from '../limits.ts';
import { authorizeTarget, directoryStaleError, liveSession, type Peer, peerOf, selectUpstream } from './admission.ts';
import { type ClientHelloReader, createClientHelloReader, sniMismatch } from './client-hello.ts';
import { type ConnectDestination, type ConnectReader, createConnectReader } from './connect.ts';
import { dialGateway, type GatewayAddress, type Upstream } from './forward.ts';
import {
  CONNECT_ESTABLISHED,
  formatRefusal,
  gatewayUnreachableError,
  malformedError,
  TLS_ALERTS,
  upstreamName,
} from './refusal.ts';

type Stage = 'handshake' | 'control' | 'warm' | 'head' | 'dial' | 'hello' | 'open' | 'refused' | 'gone';

const NOTHING = Buffer.alloc(0);
const HALF_CLOSED = 'one side has closed, and the tunnel was idle afterwards';

export class Tunnel {
  /** The client's address and port, as recorded in the audit log. */
  readonly remote: string;
  readonly raw: Socket;
  readonly source: string;
  stage: Stage = 'handshake';
  /** The session that the connection belongs to. Set once the client has presented the SVID of a live session. */
  sessionId: string | undefined;
  readonly #host: TunnelHost;
  #tls: TLSSocket | undefined;
  #upstream: Upstream | undefined;
  #peer: Peer | undefined;
  #destination: ConnectDestination | undefined;
  /**
   * Bytes that the client sent before it received the response to its CONNECT. A client can save a round trip by
   * sending the inner ClientHello along with the CONNECT. The bytes are processed once the gateway is connected, as if
   * they had just arrived.
   */
  #early: Buffer = NOTHING;
  #connect: ConnectReader | undefined;
  #hello: ClientHelloReader | undefined;
  #deadline: number;
  #openedAt = 0;
  /**
   * The number of bytes that the open tunnel had transferred at the last sweep. `#halfClosed` is whether one side had
   * closed by then.
   */
  #moved = 0;
  #halfClosed = false;
  /**
   * Whether the connection was accepted before the edge knew the mesh's root certificates. If so, its TLS context does
   * not trust any client.
   */
  readonly #blind: boolean;
  #ending: { readonly code?: ErrorCode; readonly reason: string } | undefined;

  /** @param source the key for connection limits, see `sourceGroup` */
  constructor(host: TunnelHost, raw: Socket, source: string) {
    this.#host = host;
    this.raw = raw;
    this.remote = `${raw.remoteAddress}:${raw.remotePort}`;
    this.source = source;
    this.#deadline = host.clock() + host.limits.handshakeMs;
    this.#blind = host.directory.state() === 'empty';
    raw.once('close', () => this.#gone());
  }

  /** Identifies the client after the outer TLS handshake. */
  secured(tls: TLSSocket): void {
    this.#tls = tls;
    tls.on('error', () => this.cut());
    tls.once('close', () => this.#gone());
    try {
      // An SVID is not necessarily invalid just because it could not be verified.
      if (this.#blind) throw directoryStaleError();
      const peer = peerOf(tls);
      this.#peer = peer;
      const session = liveSession(this.#host.directory, peer, this.#host.clock());
      const full = this.#host.join(this, session.id);
      if (full) throw full;
      this.sessionId = session.id;
    } catch (error) {
      this.#refuse(error as MeshpassError);
      return;
    }
    if (tls.alpnProtocol === CONTROL_ALPN) {
      this.#enter('control', Number.POSITIVE_INFINITY);
      this.#host.control!.open(this, this.sessionId!, tls);
      return;
    }
    this.#enter('warm', this.#host.limits.warmMs);
    tls.once('end', () => this.#ended());
    tls.on('data', this.#onData);
  }

  /** Handles a failure of the outer TLS handshake. */
  handshakeFailed(why: string): void {
    // A health probe connects and closes without sending anything, so it is not recorded as a decision.
    if (this.stage === 'handshake' && this.raw.bytesRead > 0)
      this.#decide('refused', `The TLS handshake failed (${why}).`, 'tunnel_request_malformed');
    this.cut();
  }

  /** Closes a connection without a session, to make room for others. */
  evict(reason: string): void {
    // The decision about a refused connection has already been recorded, and the client is only reading the response.
    if (this.stage !== 'refused') this.#decide('refused', reason, 'tunnel_limit');
    this.cut();
  }

  /** Destroys the connection immediately with a TCP reset, which discards data in kernel buffers. */
  cut(code?: ErrorCode, reason?: string): void {
    if (this.stage === 'gone') return;
    if (reason !== undefined) this.#ending ??= code === undefined ? { reason } : { code, reason };
    this.#upstream?.socket.resetAndDestroy();
    this.raw.resetAndDestroy();
    this.#tls?.destroy();
    this.#gone();
  }

  /**
   * Cuts the tunnel if its principal no longer belongs to the session, or if the session may no longer reach the
   * target.
   */
  recheck(session: LiveSession): void {
    if (!this.#peer || !session.targets.has(this.#peer.spiffeId)) {
      this.cut('tunnel_session_unknown', 'the principal no longer belongs to the session');
    } else if (this.#destination && !mayReach(session, this.#peer.spiffeId, this.#destination.target)) {
      this.cut('tunnel_target_not_granted', 'the target is no longer granted');
    }
  }

  /** Checks whether the deadline of the current stage has passed. */
  sweep(now: number): void {
    if (this.stage === 'open') this.#watch(now);
    if (now < this.#deadline) return;
    const { stage } = this;
    if (stage === 'handshake') this.#drop('The TLS handshake took too long.', 'tunnel_handshake_timeout');
    else if (stage === 'warm') this.cut('tunnel_idle');
    else if (stage === 'head')
      this.#refuse(new MeshpassError('tunnel_handshake_timeout', 'The CONNECT request took too long.'));
    else if (stage === 'dial') this.#refuse(gatewayUnreachableError('no response in time'));
    else if (stage === 'hello') this.#drop('The inner ClientHello took too long.', 'tunnel_handshake_timeout');
    else if (stage === 'open')
      this.cut('tunnel_idle', this.#halfClosed ? HALF_CLOSED : 'the tunnel reached its idle timeout');
    else this.cut(); // the decision to refuse this client has already been recorded
  }

  /**
   * Extends the deadline of an open tunnel if bytes have been transferred or a side has closed since the last sweep.
   * Forwarding itself therefore needs no clock.
   */
  #watch(now: number): void {
    const [client, { socket }] = [this.#tls!, this.#upstream!];
    const halfClosed = socket.readableEnded || client.readableEnded;
    const moved = socket.bytesRead + socket.bytesWritten - client.writableLength;
    if (moved === this.#moved && halfClosed === this.#halfClosed) return;
    this.#moved = moved;
    this.#halfClosed = halfClosed;
    const { idleMs, halfClosedMs } = this.#host.limits;
    this.#deadline = now + (halfClosed ? Math.min(halfClosedMs, idleMs) : idleMs);
  }

  /** The number of bytes transferred so far, to and from the mesh. */
  get bytes(): { readonly in: number; readonly out: number } {
    const socket = this.#upstream?.socket;
    return { in: socket?.bytesWritten ?? 0, out: socket?.bytesRead ?? 0 };
  }

  /**
   * When the tunnel was last put to use, in Unix milliseconds. Undefined before CONNECT and after the tunnel has ended.
   */
  get busySince(): number | undefined {
    if (this.stage === 'open') return this.#openedAt;
    return ['head', 'dial', 'hello'].includes(this.stage) ? this.#host.clock() : undefined;
  }

  // A single listener serves all stages before `open`. After that, the forwarding code uses its own listener.
  readonly #onData = (chunk: Buffer): void => {
    switch (this.stage) {
      case 'warm':
        this.#connect = createConnectReader(this.#host.limits.headBytes);
        this.#enter('head', this.#host.limits.headMs);
        this.#readHead(chunk);
        return;
      case 'head':
        this.#readHead(chunk);
        return;
      case 'dial':
        this.#hold(chunk);
        return;
      case 'hello':
        this.#readHello(chunk);
        return;
    }
  };

  #readHead(chunk: Buffer): void {
    const result = this.#connect!.push(chunk);
    if (result.state === 'more') return;
    if (result.state === 'error') {
      this.#refuse(malformedError(result.reason));
      return;
    }
    this.#connect = undefined;
    this.#destination = result.destination;
    try {
      // The session may have ended, or the SVID may have expired, while the connection was warm. Both are checked
      // again.
      const asked = { peer: this.#peer!, sessionId: this.sessionId!, target: this.#destination.target };
      authorizeTarget(this.#host.directory, asked, this.#host.clock());
      this.#dial(selectUpstream(this.#host, this.#destination));
    } catch (error) {
      this.#refuse(error as MeshpassError);
      return;
    }
    if (result.rest.length > 0) this.#hold(result.rest);
  }

  #hold(chunk: Buffer): void {
    this.#early = Buffer.concat([this.#early, chunk]);
    if (this.#early.length > this.#host.limits.helloBytes)
      this.#refuse(malformedError('More data than a ClientHello arrived before the response to CONNECT.'));
  }

  // The edge only dials addresses configured by the operator, never a name from the client. It dials before it sends
  // the 200 response, so that an unreachable gateway results in an error response. The gateway receives no bytes until
  // the inner SNI has been checked.
  #dial(to: GatewayAddress): void {
    this.#enter('dial', this.#host.limits.dialMs);
    const upstream = dialGateway(to, this.#tls!);
    this.#upstream = upstream;
    upstream.socket.once('connect', () => {
      if (this.stage !== 'dial') return;
      this.#hello = createClientHelloReader(this.#host.limits.helloBytes);
      this.#enter('hello', this.#host.limits.helloMs);
      this.#tls!.write(CONNECT_ESTABLISHED);
      const early = this.#early;
      this.#early = NOTHING;
      if (early.length > 0) this.#readHello(early);
    });
    upstream.socket.on('error', (error: NodeJS.ErrnoException) => {
      if (this.stage === 'dial') this.#refuse(gatewayUnreachableError(error.code ?? 'error', this.#destination));
      else this.cut(undefined, `${upstreamName(this.#destination)} dropped the connection`);
    });
    upstream.socket.once('close', () => this.#upstreamClosed());
  }

  #readHello(chunk: Buffer): void {
    const result = this.#hello!.push(chunk);
    if (result.state === 'more') return;
    if (result.state === 'error') {
      this.#alert(TLS_ALERTS.decodeError, `The inner connection is not TLS with a server name: ${result.reason}.`);
      return;
    }
    const mismatch = sniMismatch(result.sni, this.#destination!.sni);
    if (mismatch !== undefined) this.#alert(TLS_ALERTS.unrecognizedName, mismatch);
    else this.#open(this.#hello!.bytes());
  }

  #open(head: Buffer): void {
    const tls = this.#tls!;
    this.#hello = undefined;
    tls.off('data', this.#onData);
    this.#openedAt = this.#host.clock();
    this.#enter('open', this.#host.limits.idleMs);
    this.#decide('allowed', 'The session is live and the target is granted.');
    this.#upstream!.open(head);
  }

  #refuse(error: MeshpassError): void {
    const id = this.#decide('refused', error.message, error.code);
    this.#sayAndLeave(formatRefusal(error, id, this.#tls!.alpnProtocol));
  }

  #alert(alert: Buffer, reason: string): void {
    this.#decide('refused', reason, 'tunnel_sni_mismatch');
    this.#sayAndLeave(alert);
  }

  // Closing the connection while the client is still sending would reset it, and the response would be lost. The
  // remaining input is therefore read and discarded.
  #sayAndLeave(last: Buffer | string): void {
    const tls = this.#tls!;
    this.#enter('refused', this.#host.limits.lingerMs);
    this.#upstream?.socket.destroy();
    tls.off('data', this.#onData);
    tls.once('end', () => tls.destroy());
    tls.end(last);
    tls.resume();
  }

  #ended(): void {
    if (this.stage === 'warm') this.#tls!.end();
    if (this.stage === 'head') this.#refuse(malformedError('The connection ended inside the request head.'));
    if (this.stage === 'dial') this.cut();
    if (this.stage === 'hello')
      this.#alert(TLS_ALERTS.decodeError, 'The connection ended before the inner ClientHello.');
  }

  #upstreamClosed(): void {
    if (this.stage === 'hello') {
      this.#drop(`The connection was closed by ${upstreamName(this.#destination)}.`, 'tunnel_gateway_unreachable');
    }
    // If the gateway has closed an open tunnel cleanly, the client has already been notified and closes its side in
    // turn.
    else if (this.stage === 'open' && !this.#upstream!.socket.readableEnded) this.cut();
  }

  /** Refuses a client that cannot read a response at this stage. */
  #drop(reason: string, code: ErrorCode): void {
    this.#decide('refused', reason, code);
    this.cut();
  }

  #enter(stage: Stage, limitMs: number): void {
    this.stage = stage;
    this.#deadline = this.#host.clock() + limitMs;
  }

  #gone(): void {
    if (this.stage === 'gone') return;
    const wasOpen = this.stage === 'open';
    this.stage = 'gone';
    this.#upstream?.socket.destroy();
    this.#tls?.destroy();
    if (wasOpen) {
      this.#decide('ended', this.#ending?.reason ?? 'closed by client or service', this.#ending?.code);
    }
    this.#host.left(this);
  }

  #decide(outcome: EdgeDecision['outcome'], reason: string, code?: ErrorCode): string {
    const [id, at] = [randomUUID(), this.#host.clock()];
    const [destination, bytes] = [this.#destination, this.bytes];
    const decision: EdgeDecision = {
      id,
      at,
      outcome,
      reason,
      source: this.remote,
      ...(code !== undefined && { code }),
      ...(this.sessionId !== undefined && { session_id: this.sessionId }),
      ...(this.#peer && { spiffe_id: this.#peer.spiffeId }),
      ...(destination && { target: destination.target }),
      ...(destination?.bySni && { sni: destination.sni }),
      ...(outcome === 'ended' && { bytes_in: bytes.in, bytes_out: bytes.out, duration_ms: at - this.#openedAt }),
    };
    this.#host.decided(decision, this.sessionId !== undefined);
    return id;
  }
}

/** The parts of the edge that a tunnel depends on. */
interface TunnelHost {
  readonly gateway: GatewayAddress;
  /** The address of the Kubernetes API server. Undefined if this edge has no route to it. */
  readonly kubernetesApi: GatewayAddress | undefined;
  readonly directory: SessionDirectory;
  readonly limits: EdgeLimits;
  readonly clock: () => number;
  /** @param known whether the decision belongs to a live session */
  decided(decision: EdgeDecision, known: boolean): void;
  /** The hub for control connections. Undefined if the edge does not serve any. */
  readonly control: ControlHub | undefined;
  /**
   * Counts the tunnel towards its session. It no longer counts as a stranger afterwards.
   * @returns an error if the session has reached a limit
   */
  join(tunnel: Tunnel, sessionId: string): MeshpassError | undefined;
  /** Removes a closed connection. It is called exactly once per tunnel. */
  left(tunnel: Tunnel): void;
}
