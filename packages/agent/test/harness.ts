/** Real TLS on loopback for the agent's tests: two certificate authorities, a workload, an edge and a broker in small. */
import 'reflect-metadata';
import { X509Certificate } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer as createHttpsServer, type Server as HttpsServer } from 'node:https';
import { type AddressInfo, connect as tcpConnect } from 'node:net';
import { createServer as createTlsServer, type TLSSocket, type Server as TlsServer } from 'node:tls';
import { dpopThumbprint } from '@meshpass/identity/dpop';
import type { ReachableService } from '@meshpass/identity/wire';
import * as x509 from '@peculiar/x509';

const EC = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;

export interface Issued {
  readonly cert: string;
  readonly key: string;
}

export interface Authority {
  readonly root: string;
  /** @param san `spiffe://...` or a DNS name */
  issue(san: string, lifetimeSeconds?: number): Promise<Issued>;
  sign(csr: string, san: string, lifetimeSeconds: number): Promise<string>;
}

export async function createAuthority(name: string): Promise<Authority> {
  const keys = await crypto.subtle.generateKey(EC, true, ['sign', 'verify']);
  const ca = await x509.X509CertificateGenerator.createSelfSigned({
    name: `CN=${name}`,
    keys,
    signingAlgorithm: EC,
    notAfter: new Date(Date.now() + 86_400_000),
    extensions: [new x509.BasicConstraintsExtension(true, undefined, true)],
  });
  const leaf = async (publicKey: CryptoKey | x509.PublicKey, san: string, lifetimeSeconds: number) =>
    (
      await x509.X509CertificateGenerator.create({
        subject: 'O=test',
        issuer: ca.subject,
        publicKey,
        signingKey: keys.privateKey,
        signingAlgorithm: EC,
        notBefore: new Date(Date.now() - 1000),
        notAfter: new Date(Date.now() + lifetimeSeconds * 1000),
        serialNumber: Buffer.from(crypto.getRandomValues(new Uint8Array(8))).toString('hex'),
        extensions: [
          new x509.SubjectAlternativeNameExtension([
            san.startsWith('spiffe:') ? { type: 'url', value: san } : { type: 'dns', value: san },
          ]),
        ],
      })
    ).toString('pem');
  return {
    root: ca.toString('pem'),
    issue: async (san, lifetimeSeconds = 3600) => {
      const own = await crypto.subtle.generateKey(EC, true, ['sign', 'verify']);
      const pkcs8 = Buffer.from(await crypto.subtle.exportKey('pkcs8', own.privateKey)).toString('base64');
      const key = `-----BEGIN PRIVATE KEY-----\n${pkcs8.match(/.{1,64}/g)!.join('\n')}\n-----END PRIVATE KEY-----\n`;
      return { cert: await leaf(own.publicKey, san, lifetimeSeconds), key };
    },
    sign: (csr, san, lifetimeSeconds) => leaf(new x509.Pkcs10CertificateRequest(csr).publicKey, san, lifetimeSeconds),
  };
}

export interface Workload {
  readonly port: number;
  readonly server: TlsServer;
  /** SNI and ALPN of every connection, and the SPIFFE id that it presented. */
  readonly seen: { servername: string | false; alpn: string | false | null; peer: string | undefined }[];
  readonly sockets: Set<TLSSocket>;
  close(): void;
}

/** A workload's sidecar: inner TLS with a SPIFFE certificate, demanding the client's. */
export async function startWorkload(
  issued: Issued,
  root: string,
  onConnection: (socket: TLSSocket) => void,
): Promise<Workload> {
  const seen: Workload['seen'] = [];
  const sockets = new Set<TLSSocket>();
  const server = createTlsServer(
    {
      ...issued,
      ca: root,
      requestCert: true,
      rejectUnauthorized: true,
      ALPNProtocols: ['istio-http/1.1', 'istio-h2', 'istio'],
      allowHalfOpen: true,
    },
    (socket) => {
      sockets.add(socket);
      socket.on('close', () => sockets.delete(socket));
      socket.on('error', () => socket.destroy());
      seen.push({
        servername: (socket as TLSSocket & { servername: string | false }).servername,
        alpn: socket.alpnProtocol,
        peer: socket.getPeerCertificate().subjectaltname,
      });
      onConnection(socket);
    },
  );
  const port = await listen(server);
  return { port, server, seen, sockets, close: () => closeAll(server, sockets) };
}

export interface TestEdge {
  readonly port: number;
  readonly connects: string[];
  readonly sockets: Set<TLSSocket>;
  /** What CONNECT is answered with instead of a tunnel, while set. */
  refuse: { status: number; body: object } | undefined;
  close(): void;
}

/** CONNECT over mutual TLS to the port that `targets` gives for `host:port`. */
export async function startEdge(
  issued: Issued,
  clientRoot: string,
  targets: ReadonlyMap<string, number>,
): Promise<TestEdge> {
  const sockets = new Set<TLSSocket>();
  const edge: { refuse: TestEdge['refuse']; connects: string[] } = { refuse: undefined, connects: [] };
  const server = createTlsServer(
    {
      ...issued,
      ca: clientRoot,
      requestCert: true,
      rejectUnauthorized: true,
      minVersion: 'TLSv1.3',
      allowHalfOpen: true,
    },
    (socket) => {
      sockets.add(socket);
      socket.setNoDelay(true);
      socket.on('error', () => socket.destroy());
      socket.on('close', () => sockets.delete(socket));
      socket.once('data', (head) => {
        const authority = /^CONNECT (\S+) HTTP\/1\.1\r\nHost: \1\r\n\r\n$/.exec(head.toString('latin1'))?.[1] ?? '';
        edge.connects.push(authority);
        const port = targets.get(authority);
        if (edge.refuse || port === undefined) {
          const body = JSON.stringify(
            edge.refuse?.body ?? { error_code: 'tunnel_target_not_granted', error_description: 'no' },
          );
          socket.end(
            `HTTP/1.1 ${edge.refuse?.status ?? 403} No\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`,
          );
          return;
        }
        socket.pause();
        const upstream = tcpConnect({ port, host: '127.0.0.1', noDelay: true, allowHalfOpen: true }, () => {
          socket.write('HTTP/1.1 200 OK\r\n\r\n');
          socket.pipe(upstream).pipe(socket);
        });
        upstream.on('error', () => socket.destroy());
        upstream.on('close', () => socket.destroy());
        socket.on('close', () => upstream.destroy());
      });
    },
  );
  const port = await listen(server);
  return Object.assign(edge, { port, sockets, close: () => closeAll(server, sockets) });
}

export interface TestBroker {
  readonly url: string;
  /** Requests in order: method and path. */
  readonly calls: string[];
  services: ReachableService[];
  /** Absent: as of a broker that has just started. */
  servicesVersion: string | undefined;
  /** How many came. */
  heartbeats: number;
  /** Answers everything with this, while set. */
  down: boolean;
  /** Seconds by which the broker's clock is ahead. */
  skew: number;
  /** It started in the second of the first proof: it takes none of that second or before. */
  justStarted: boolean;
  tokenLifetime: number;
  /** Characters added to identity tokens, to make them as long as real ones. */
  tokenPadding: number;
  svidLifetime: number;
  heartbeatSeconds: number;
  /** Key that signs identity tokens, and those that heartbeats name; absent: neither is told. */
  tokenKey?: string;
  tokenKeys?: string[];
  /** Signs certificates from now on. */
  authority: Authority;
  /** Roots that agents are told of. */
  roots: string[];
  sessions: Map<string, { id: string; jkt: string }>;
  /** Plays a broker that was taken over: may change what a call is answered, or answer it itself. */
  tamper: ((call: string, answer: TamperedAnswer) => void) | undefined;
  close(): void;
}

export interface TamperedAnswer {
  status: number;
  headers: Record<string, string>;
  // biome-ignore lint/suspicious/noExplicitAny: the honest answer, for a test to spoil
  json: any;
  /** Sent as they are in place of `json`. */
  bytes?: string | Buffer;
  /** Answers in its place. */
  instead?: (response: ServerResponse) => void;
}

/** The broker's API for one workspace, with the checks of DPoP that the agent must satisfy. */
export async function startBroker(
  issued: Issued,
  mesh: Authority,
  edge: { host: string; port: number },
  services: ReachableService[],
): Promise<TestBroker> {
  const server: HttpsServer = createHttpsServer(issued);
  const port = await listen(server);
  let counter = 0;
  let startedAt = 0;
  const grants = () => [...new Set(broker.services.map((service) => service.grant))];
  const meshInfo = () => ({
    trust_domain: 'cluster.local',
    roots: broker.roots,
    edge,
    token_header: 'x-meshpass-token',
  });
  const broker: TestBroker = {
    url: `https://localhost:${port}`,
    calls: [],
    services,
    servicesVersion: '1',
    heartbeats: 0,
    down: false,
    skew: 0,
    justStarted: false,
    tokenLifetime: 300,
    tokenPadding: 0,
    svidLifetime: 600,
    heartbeatSeconds: 15,
    authority: mesh,
    roots: [mesh.root],
    sessions: new Map(),
    tamper: undefined,
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
  server.on('request', async (request: IncomingMessage, response) => {
    const nowSeconds = Math.floor(Date.now() / 1000) + broker.skew;
    const answer = (status: number, body?: object, more: Record<string, string> = {}) => {
      const date = new Date(nowSeconds * 1000).toUTCString();
      const given: TamperedAnswer = {
        status,
        headers: { 'content-type': 'application/json', date, ...more },
        json: body,
      };
      broker.tamper?.(`${request.method} ${request.url}`, given);
      if (given.instead) return given.instead(response);
      response.writeHead(given.status, given.headers);
      response.end(given.bytes ?? (given.json && JSON.stringify(given.json)));
    };
    const refuse = (status: number, code: string, more?: Record<string, string>) =>
      answer(status, { error: 'x', error_code: code, error_description: code }, more);
    let body = '';
    for await (const chunk of request) body += chunk;
    broker.calls.push(`${request.method} ${request.url}`);
    if (broker.down) return refuse(503, 'store_unavailable');
    if (request.headers.dpop === undefined) return refuse(401, 'dpop_missing');
    const [header, claims] = String(request.headers.dpop)
      .split('.')
      .slice(0, 2)
      .map((part) => JSON.parse(Buffer.from(part, 'base64url').toString()));
    // As the token endpoint answers who has no session yet.
    const badProof = request.headers.authorization === undefined ? 400 : 401;
    if (Math.abs(claims.iat - nowSeconds) > 60) return refuse(badProof, 'dpop_expired');
    if (broker.justStarted) startedAt ||= claims.iat;
    if (claims.iat <= startedAt) return refuse(badProof, 'dpop_expired', { 'retry-after': '1' });
    if (claims.htm !== request.method || claims.htu !== broker.url + request.url) return refuse(401, 'dpop_mismatch');
    const jkt = dpopThumbprint(header.jwk);
    const token = /^DPoP (.+)$/.exec(request.headers.authorization ?? '')?.[1];
    if (token === undefined) {
      const form = new URLSearchParams(body);
      if (form.get('subject_token') !== 'proof') return refuse(400, 'proof_rejected');
      counter += 1;
      const id = `ses-${counter}`;
      broker.sessions.set(`mps_${counter}`, { id, jkt });
      return answer(200, {
        access_token: `mps_${counter}`,
        issued_token_type: 'urn:meshpass:token-type:session',
        token_type: 'DPoP',
        expires_in: 3600,
        session: {
          id,
          subject: 'github:583231',
          login: 'octocat',
          workspace: form.get('codespace_name') ?? 'file',
          expires_at: nowSeconds + 3600,
          lease_seconds: 45,
          heartbeat_seconds: broker.heartbeatSeconds,
          grants: grants(),
        },
        mesh: meshInfo(),
        services: broker.services,
      });
    }
    const session = broker.sessions.get(token);
    if (!session) return refuse(401, 'session_unknown');
    if (session.jkt !== jkt) return refuse(401, 'dpop_key_mismatch');
    switch (`${request.method} ${request.url}`) {
      case 'POST /certificates': {
        const asked = JSON.parse(body).certificates as { grant: string; csr: string }[];
        const certificates = await Promise.all(
          asked.map(async ({ grant, csr }) => {
            const spiffeId = `spiffe://cluster.local/ns/meshpass-${grant}/sa/octocat-1`;
            const chain = await broker.authority.sign(csr, spiffeId, broker.svidLifetime);
            const notAfter = Math.floor(Date.parse(new X509Certificate(chain).validTo) / 1000) + broker.skew;
            return { grant, spiffe_id: spiffeId, chain, not_before: nowSeconds, not_after: notAfter };
          }),
        );
        return answer(200, { certificates, roots: broker.roots });
      }
      case 'POST /token': {
        counter += 1;
        const audience = new URLSearchParams(body).get('audience');
        const head = broker.tokenKey
          ? Buffer.from(JSON.stringify({ alg: 'RS256', kid: broker.tokenKey })).toString('base64url')
          : 'head';
        const value = audience
          ? `aud.${audience.replaceAll('.', '-')}.${counter}`
          : `${head}.token${counter}${'x'.repeat(broker.tokenPadding)}.sig`;
        return answer(200, {
          access_token: value,
          issued_token_type: 'x',
          token_type: 'N_A',
          expires_in: broker.tokenLifetime,
        });
      }
      case 'POST /session/heartbeat':
        broker.heartbeats++;
        return answer(200, {
          lease_expires_at: nowSeconds + 45,
          expires_at: nowSeconds + 3600,
          services_version: broker.servicesVersion,
          ...(broker.tokenKeys && { token_keys: broker.tokenKeys }),
        });
      case 'GET /services':
        return answer(200, { services_version: broker.servicesVersion, mesh: meshInfo(), services: broker.services });
      case 'DELETE /session':
        broker.sessions.delete(token);
        return answer(204);
      default:
        return refuse(404, 'not_found');
    }
  });
  return broker;
}

export function service(overrides: Partial<ReachableService> = {}): ReachableService {
  return {
    grant: 'payments-dev',
    host: 'orders.shop.svc.cluster.local',
    port: 8080,
    aliases: ['orders.shop.svc', 'orders.shop'],
    protocol: 'http',
    allow: ['GET /orders/*', 'POST /refunds'],
    spiffe_ids: ['spiffe://cluster.local/ns/shop/sa/orders'],
    ...overrides,
  };
}

function listen(server: TlsServer | HttpsServer): Promise<number> {
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port));
  });
}

function closeAll(server: TlsServer, sockets: Set<TLSSocket>): void {
  for (const socket of sockets) socket.destroy();
  server.close();
}
