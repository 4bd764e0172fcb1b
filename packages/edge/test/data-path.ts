/**
 * Complete data path on loopback: client, edge, and a gateway that speaks TLS like a workload behind Istio's gateway.
 */
import { once } from 'node:events';
import { type AddressInfo, createServer as createTcpServer, type Server, type Socket } from 'node:net';
import { type ConnectionOptions, connect, createServer as createTlsServer, type TLSSocket } from 'node:tls';
import { formatSni, type Target } from '@meshpass/identity';
import type { EdgeDecision } from '@meshpass/identity/channel';
import {
  type ControlBroker,
  createSessionDirectory,
  type Edge,
  type EdgeLimits,
  type SessionDirectory,
  startEdge,
} from '../src/index.ts';
import { type Ca, type Credential, createCa, svid } from './mesh-ca.ts';

export const ALICE = 'spiffe://cluster.local/ns/meshpass-shop/sa/alice-1a2b';
export const BOB = 'spiffe://cluster.local/ns/meshpass-shop/sa/bob-3c4d';
export const STRANGER = 'spiffe://cluster.local/ns/shop/sa/orders';
export const ORDERS: Target = { host: 'orders.shop.svc.cluster.local', port: 8080 };
export const LEDGER: Target = { host: 'ledger-db.shop.svc.cluster.local', port: 5432 };

/** Addresses of the outer connection, if a test chooses them. */
export interface Way {
  readonly host?: string;
  readonly localAddress?: string;
  readonly localPort?: number;
}

export interface DataPath {
  readonly mesh: Ca;
  readonly web: Ca;
  readonly directory: SessionDirectory;
  readonly edge: Edge;
  readonly decisions: EdgeDecision[];
  /** Connections that the gateway has accepted, including closed ones. */
  readonly arrivals: Socket[];
  /** Advances the clock of edge and directory relative to the real one, ms. */
  advance(ms: number): void;
  admit(id: string, spiffeId: string, targets?: readonly Target[], expiresAt?: number): void;
  /** Opens an outer connection and completes its handshake. */
  outer(credential: Credential | undefined, session?: Buffer, way?: Way): Promise<TLSSocket>;
  /** Returns the TLS session that the edge issued to an outer connection. */
  ticket(outer: TLSSocket): Promise<Buffer>;
  /** Opens a complete tunnel with its inner TLS. */
  tunnel(credential: Credential, target?: Target): Promise<{ outer: TLSSocket; inner: TLSSocket }>;
  /** Resolves once the edge has no connection. */
  empty(): Promise<void>;
  close(): Promise<void>;
}

export async function buildDataPath(
  limits: Partial<EdgeLimits> = {},
  options: {
    readonly serve?: (socket: Socket) => void;
    readonly rawGateway?: (socket: Socket) => void;
    /** Listens on every IPv4 address of this machine, not only on 127.0.0.1. */
    readonly everywhere?: boolean;
    /** Gateway instead of the default one. */
    readonly gateway?: { readonly host: string; readonly port: number };
    /** Kubernetes API server. */
    readonly kubernetesApi?: { readonly host: string; readonly port: number };
    /** Broker requests for control connections; without it there are none. */
    readonly control?: ControlBroker;
    /** Whether the broker has sent nothing yet. */
    readonly unheard?: boolean;
  } = {},
): Promise<DataPath> {
  const [mesh, web] = await Promise.all([createCa('mesh'), createCa('web')]);
  const workload = await svid(mesh, 'spiffe://cluster.local/ns/shop/sa/orders');
  let ahead = 0;
  const clock = () => Date.now() + ahead;
  const directory = createSessionDirectory({ clock });
  if (!options.unheard) directory.apply({ type: 'snapshot', sessions: [], roots: [mesh.root] });
  const arrivals: Socket[] = [];
  const gateway: Server = options.rawGateway
    ? createTcpServer({ allowHalfOpen: true }, options.rawGateway)
    : createTlsServer(
        { ...workload, allowHalfOpen: true } as object,
        options.serve ?? ((socket) => socket.pipe(socket)),
      );
  gateway.on('connection', (socket: Socket) => {
    arrivals.push(socket);
    socket.on('error', () => {});
  });
  gateway.on('secureConnection', (socket: Socket) => socket.on('error', () => {}));
  gateway.listen(0, '127.0.0.1');
  await once(gateway, 'listening');
  const decisions: EdgeDecision[] = [];
  const edge = await startEdge({
    listen: { host: options.everywhere ? '0.0.0.0' : '127.0.0.1', port: 0 },
    tls: await web.issue({ san: [{ type: 'dns', value: 'edge.test' }] }),
    gateway: options.gateway ?? { host: '127.0.0.1', port: (gateway.address() as AddressInfo).port },
    directory,
    report: (decision) => decisions.push(decision),
    limits,
    clock,
    kubernetesApi: options.kubernetesApi,
    ...(options.control && { control: options.control }),
  });

  const tickets = new WeakMap<TLSSocket, Buffer>();
  let greeted = 0;
  async function outer(credential: Credential | undefined, session?: Buffer, way: Way = {}): Promise<TLSSocket> {
    const socket = connect({
      host: '127.0.0.1',
      ...way,
      port: edge.address.port,
      servername: 'edge.test',
      ca: web.root,
      ALPNProtocols: ['http/1.1'],
      allowHalfOpen: true,
      ...credential,
      ...(session && { session }),
    } as ConnectionOptions);
    socket.on('error', () => {});
    socket.on('session', (ticket: Buffer) => tickets.set(socket, ticket));
    await once(socket, 'secureConnect');
    // In TLS 1.3 the client finishes first: wait until the edge has also seen the certificate.
    greeted++;
    while (edge.stats().handshakes < greeted) await soon();
    return socket;
  }

  return {
    mesh,
    web,
    directory,
    edge,
    decisions,
    arrivals,
    advance(ms) {
      ahead += ms;
    },
    admit(id, spiffeId, targets = [ORDERS], expiresAt = Math.floor(Date.now() / 1000) + 3600) {
      const principals = [{ spiffe_id: spiffeId, targets: targets.map((target) => ({ ...target })) }];
      directory.apply({ type: 'admit', session: { id, expires_at: expiresAt, principals } });
    },
    outer,
    async ticket(socket) {
      for (;;) {
        const ticket = tickets.get(socket);
        if (ticket) return ticket;
        await soon();
      }
    },
    async tunnel(credential, target = ORDERS) {
      const socket = await outer(credential);
      const answer = await say(socket, connectHead(target));
      if (!answer.startsWith('HTTP/1.1 200 OK\r\n\r\n')) throw new Error(answer);
      const inner = connect({ socket, servername: formatSni(target), rejectUnauthorized: false });
      inner.on('error', () => {});
      await once(inner, 'secureConnect');
      return { outer: socket, inner };
    },
    async empty() {
      while (edge.stats().connections > 0) await soon();
    },
    async close() {
      await edge.close();
      directory.close();
      for (const socket of arrivals) socket.destroy();
      gateway.close();
    },
  };
}

export function connectHead(target: Target): string {
  return `CONNECT ${target.host}:${target.port} HTTP/1.1\r\nHost: ${target.host}:${target.port}\r\n\r\n`;
}

/** CONNECT as Envoy sends it, with the server name of its inner connection. */
export function connectBySni(sni: string): string {
  return `CONNECT ${sni}:15443 HTTP/1.1\r\nHost: ${sni}:15443\r\n\r\n`;
}

/** Writes, and returns the next bytes. */
export async function say(socket: Socket, bytes: string | Buffer): Promise<string> {
  socket.write(bytes);
  return hear(socket);
}

export function hear(socket: Socket): Promise<string> {
  return new Promise((resolve, reject) => {
    const onClose = () => reject(new Error('closed without an answer'));
    socket.once('close', onClose);
    socket.once('data', (bytes: Buffer) => {
      socket.off('close', onClose);
      resolve(bytes.toString('latin1'));
    });
  });
}

/** Returns the first bytes of a TLS client. */
export async function captureHello(servername: string | undefined): Promise<Buffer> {
  const server = createTcpServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const port = (server.address() as { port: number }).port;
  const client = connect({ host: '127.0.0.1', port, ...(servername !== undefined && { servername }) });
  client.on('error', () => {});
  const [socket] = (await once(server, 'connection')) as [Socket];
  const [hello] = (await once(socket, 'data')) as [Buffer];
  client.destroy();
  socket.destroy();
  server.close();
  return hello;
}

/** Parses the refusal in an HTTP response: its status line, `error_code` and decision. */
export function refusalOf(answer: string): {
  readonly status: string;
  readonly code: string;
  readonly decision: string;
} {
  const [head, body] = answer.split('\r\n\r\n');
  if (!/\r\nConnection: close(\r\n|$)/.test(head!)) throw new Error(`no Connection: close in ${head}`);
  const parsed = JSON.parse(body!) as { error_code: string; decision_id: string };
  const header = (name: string) => new RegExp(`\\r\\n${name}: (.*)`, 'i').exec(head!)?.[1];
  const headers = [header('meshpass-error-code'), header('meshpass-decision-id')];
  if (headers.join() !== `${parsed.error_code},${parsed.decision_id}`)
    throw new Error(`headers unlike the body: ${head}`);
  return { status: head!.split('\r\n')[0]!, code: parsed.error_code, decision: parsed.decision_id };
}

/** Resolves when the peer has closed or reset the connection. */
export function closed(socket: Socket): Promise<void> {
  socket.resume();
  return new Promise((resolve) => {
    if (socket.destroyed || socket.readableEnded) resolve();
    else socket.once('close', () => resolve()).once('end', () => resolve());
  });
}

function soon(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 2));
}
