/**
 * The listener of an edge. It accepts and counts connections, terminates the outer TLS, and cuts connections when the
 * directory ends their sessions.
 */
import { once } from 'node:events';
import { type AddressInfo, createServer as createTcpServer, type Socket } from 'node:net';
import { createServer as createTlsServer, type TLSSocket } from 'node:tls';
import {
  certificateValidity,
  createUnauthenticatedConnections,
  MeshpassError,
  socketBelow,
  sourceGroup,
  VERSION,
} from '@meshpass/identity';
import { CONTROL_ALPN, type EdgeDecision } from '@meshpass/identity/channel';
import { createDecisionReporter } from '../broker/reporter.ts';
import { type ControlBroker, createControlHub } from '../control/hub.ts';
import type { SessionDirectory } from '../directory.ts';
import { DEFAULT_LIMITS, type EdgeLimits, sweepInterval } from '../limits.ts';
import { type EdgeLog, SILENT_LOG } from '../log.ts';
import type { EdgeStats } from '../stats.ts';
import type { GatewayAddress } from '../tunnel/forward.ts';
import { Tunnel } from '../tunnel/tunnel.ts';
import { drainTunnels } from './drain.ts';
import { createHandshakeQueue } from './handshake-queue.ts';

export interface EdgeTls {
  /** The server certificate as PEM. */
  readonly cert: string;
  readonly key: string;
}

export interface EdgeOptions {
  readonly listen: { readonly host?: string; readonly port: number };
  readonly tls: EdgeTls;
  /**
   * The address of Istio's AUTO_PASSTHROUGH gateway. The edge does not dial any other target, except for the API server
   * if it is configured.
   */
  readonly gateway: GatewayAddress;
  readonly kubernetesApi?: GatewayAddress | undefined;
  readonly directory: SessionDirectory;
  /**
   * Called with each decision as soon as it has been made. The caller is expected to batch them (see
   * createDecisionQueue).
   */
  readonly report: (decision: EdgeDecision) => void;
  readonly limits?: Partial<EdgeLimits>;
  readonly log?: EdgeLog;
  /**
   * Sends requests to the broker on behalf of control connections. If absent, the edge does not serve control
   * connections.
   */
  readonly control?: ControlBroker;
  /** Returns the current time in Unix milliseconds. */
  readonly clock?: () => number;
}

export type Edge = Awaited<ReturnType<typeof startEdge>>;

/**
 * The lifetime of a TLS session ticket, in seconds. SVIDs are only valid for minutes, and a ticket for an expired SVID
 * is refused anyway.
 */
const TICKET_SECONDS = 600;

/**
 * The maximum number of handshakes that are started per turn of the event loop. Together they take about ten
 * milliseconds of CPU time.
 */
const HANDSHAKES_AT_ONCE = 8;

/**
 * Starts the edge and resolves once it is listening.
 * @throws Error from Node.js if the edge cannot listen, or if the server's certificate and key do not match
 */
export async function startEdge(options: EdgeOptions) {
  const { directory, gateway, kubernetesApi, clock = Date.now, log = SILENT_LOG } = options;
  const limits: EdgeLimits = { ...DEFAULT_LIMITS, ...options.limits };
  const reporter = createDecisionReporter(options.report, limits.anonymousReportsPerSecond, clock);
  const tunnels = new Set<Tunnel>();
  const onSocket = new WeakMap<Socket, Tunnel>();
  const strangers = createUnauthenticatedConnections(limits);
  const bySession = new Map<string, Set<Tunnel>>();
  const refused: Record<string, number> = {};
  const total = { accepted: 0, handshakes: 0, resumed: 0, allowed: 0, ended: 0, bytesIn: 0, bytesOut: 0 };
  let identity = options.tls;
  let draining = false;

  const control = options.control && createControlHub({ broker: options.control, directory, clock, log });
  const host = { gateway, kubernetesApi, directory, limits, clock, control, decided, join, left };

  const secure = createTlsServer({
    ...secureContext(),
    requestCert: true,
    // `peerOf` verifies the certificate instead, so that a refused client learns the reason and the refusal is audited.
    rejectUnauthorized: false,
    ALPNProtocols: ['http/1.1', ...(control ? [CONTROL_ALPN] : [])],
  });
  secure.on('secureConnection', (tls: TLSSocket) => {
    const tunnel = tunnelOf(tls);
    if (!tunnel) {
      tls.on('error', () => {});
      tls.destroy();
      return;
    }
    total.handshakes++;
    if (tls.isSessionReused()) total.resumed++;
    tunnel.secured(tls);
  });
  secure.on('tlsClientError', (error: NodeJS.ErrnoException, tls: TLSSocket) => {
    tls.on('error', () => {});
    const tunnel = tunnelOf(tls);
    if (tunnel) tunnel.handshakeFailed(error.code ?? 'error');
    else tls.destroy();
  });

  const handshakes = createHandshakeQueue<Tunnel>(HANDSHAKES_AT_ONCE, (tunnel) => {
    if (tunnel.stage !== 'handshake') return false;
    secure.emit('connection', tunnel.raw);
    return true;
  });

  const server = createTcpServer({
    allowHalfOpen: true,
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: 30_000,
  });
  server.on('connection', accept);
  server.on('error', (error) => log.warn({ err: error }, 'the listener failed'));

  const unlisten = directory.listen({
    closed(sessionId, reason) {
      const held = bySession.get(sessionId);
      if (!held) return;
      for (const tunnel of [...held]) {
        // A control connection does not reach any target, and its agent still has to be told why the session ended.
        if (tunnel.stage !== 'control') tunnel.cut('session_closed', `the session was closed: ${reason}`);
      }
    },
    changed(session) {
      for (const tunnel of [...(bySession.get(session.id) ?? [])]) tunnel.recheck(session);
    },
    roots(_roots, removed) {
      // The new context has new ticket keys, so TLS sessions from before the change cannot be resumed.
      renewContext();
      if (!removed) return;
      for (const tunnel of [...tunnels]) {
        if (tunnel.stage === 'handshake' || tunnel.stage === 'warm') tunnel.cut();
      }
    },
  });

  const timer = setInterval(sweep, sweepInterval(limits));
  timer.unref();

  const { host: listenHost = '::', port } = options.listen;
  await once(server.listen({ host: listenHost, port, backlog: 1024 }), 'listening');
  const bound = server.address() as AddressInfo;
  log.info({ version: VERSION, host: bound.address, port: bound.port, gateway }, 'the edge listens');

  return {
    address: { host: bound.address, port: bound.port },
    stats,
    /** Returns whether the edge is about to shut down. */
    isDraining: () => draining,
    /** Uses a renewed server certificate for new connections. */
    renew(tls: EdgeTls) {
      const before = identity;
      identity = tls;
      try {
        secure.setSecureContext(secureContext());
      } catch (error) {
        identity = before;
        throw error;
      }
    },
    /**
     * Asks agents to open their tunnels through other edges, while continuing to serve.
     * @returns the number of tunnels that remain, once there are none or `longestMs` milliseconds have passed
     */
    drain(longestMs: number) {
      draining = true;
      const { control: broker } = options;
      return drainTunnels({ tunnels: () => tunnels, control, broker, clock, log }, longestMs);
    },
    /** Stops listening and cuts all connections. */
    async close() {
      clearInterval(timer);
      unlisten();
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      control?.close();
      for (const tunnel of [...tunnels]) tunnel.cut(undefined, 'the edge is stopping');
      reporter.sweep(Number.POSITIVE_INFINITY);
      await closed;
    },
  };

  function accept(raw: Socket): void {
    total.accepted++;
    raw.on('error', () => {});
    const tunnel = new Tunnel(host, raw, sourceGroup(raw.remoteAddress));
    strangers.enter(tunnel);
    tunnels.add(tunnel);
    onSocket.set(raw, tunnel);
    handshakes.add(tunnel.source, tunnel);
  }

  function tunnelOf(tls: TLSSocket): Tunnel | undefined {
    const raw = socketBelow(tls);
    return raw && onSocket.get(raw);
  }

  function decided(decision: EdgeDecision, known: boolean): void {
    if (decision.outcome === 'allowed') total.allowed++;
    else if (decision.outcome === 'ended') total.ended++;
    else refused[decision.code ?? 'internal'] = (refused[decision.code ?? 'internal'] ?? 0) + 1;
    reporter.report(decision, known);
  }

  function join(tunnel: Tunnel, sessionId: string): MeshpassError | undefined {
    const held = bySession.get(sessionId) ?? new Set();
    if (held.size >= limits.connectionsPerSession) {
      return new MeshpassError(
        'tunnel_limit',
        'This session has reached its connection limit. Close some connections first.',
      );
    }
    if (tunnels.size - strangers.size >= limits.connections) {
      return new MeshpassError('tunnel_limit', 'The edge has reached its connection limit for sessions.', {
        retryAfter: 5,
      });
    }
    strangers.leave(tunnel);
    bySession.set(sessionId, held.add(tunnel));
    return undefined;
  }

  function left(tunnel: Tunnel): void {
    tunnels.delete(tunnel);
    strangers.leave(tunnel);
    if (tunnel.sessionId !== undefined) {
      control?.left(tunnel, tunnel.sessionId);
      const held = bySession.get(tunnel.sessionId);
      held?.delete(tunnel);
      if (held?.size === 0) bySession.delete(tunnel.sessionId);
    }
    total.bytesIn += tunnel.bytes.in;
    total.bytesOut += tunnel.bytes.out;
  }

  function sweep(): void {
    const now = clock();
    for (const tunnel of [...tunnels]) tunnel.sweep(now);
    control?.sweep(now);
    reporter.sweep(now);
  }

  function renewContext(): void {
    try {
      secure.setSecureContext(secureContext());
    } catch (error) {
      log.warn({ err: error }, 'cannot parse the mesh roots: no client is trusted until they are valid');
      secure.setSecureContext({ ...secureContext(), ca: [] });
    }
  }

  function secureContext() {
    return {
      ...identity,
      // This is always set, because Node.js trusts the public roots if `ca` is absent.
      ca: [...directory.roots()],
      minVersion: 'TLSv1.3' as const,
      // AES-128-GCM is preferred because it has the lowest cost per byte on processors with AES instructions. The
      // actual protection comes from the inner TLS.
      ciphers: 'TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256',
      honorCipherOrder: true,
      sessionTimeout: TICKET_SECONDS,
      sessionIdContext: 'meshpass-edge',
    };
  }

  function stats(): EdgeStats {
    let warm = 0;
    let open = 0;
    let { bytesIn, bytesOut } = total;
    for (const tunnel of tunnels) {
      if (tunnel.stage === 'warm') warm++;
      if (tunnel.stage !== 'open') continue;
      open++;
      bytesIn += tunnel.bytes.in;
      bytesOut += tunnel.bytes.out;
    }
    return {
      ...total,
      bytesIn,
      bytesOut,
      connections: tunnels.size,
      strangers: strangers.size,
      evicted: strangers.evicted,
      warm,
      tunnels: open,
      control: control?.size() ?? 0,
      sessions: directory.size(),
      draining,
      directory: directory.state(),
      silentMs: directory.silentFor(),
      certificate: certificateValidity(identity.cert),
      refused: { ...refused },
    };
  }
}
