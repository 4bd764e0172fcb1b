/** Real TLS on the loopback for the agent's tests: certificate authorities, a workload and an edge. */
import 'reflect-metadata';
import type { Server as HttpsServer } from 'node:https';
import { type AddressInfo, isIP, connect as tcpConnect } from 'node:net';
import { createServer as createTlsServer, type TLSSocket, type Server as TlsServer } from 'node:tls';
import type { ReachableService } from '@meshpass/identity/wire';
import { ensureEnvoy } from '@meshpass/lab/install/tools';
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
            { type: san.startsWith('spiffe:') ? 'url' : isIP(san) === 0 ? 'dns' : 'ip', value: san },
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
  /** SNI, ALPN and client SPIFFE id of every connection. */
  readonly seen: { servername: string | false; alpn: string | false | null; peer: string | undefined }[];
  readonly sockets: Set<TLSSocket>;
  close(): void;
}

/** Starts a workload's sidecar: inner TLS with a SPIFFE certificate, which requires a client certificate. */
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
  /** Response to CONNECT instead of a tunnel, while set. */
  refuse: { status: number; body: object } | undefined;
  close(): void;
}

/**
 * Starts an edge that accepts CONNECT over mutual TLS and connects to the port that `targets` contains for `host:port`.
 */
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
      // Without control connections.
      ALPNProtocols: ['http/1.1'],
      minVersion: 'TLSv1.3',
      allowHalfOpen: true,
    },
    (socket) => {
      sockets.add(socket);
      socket.setNoDelay(true);
      socket.on('error', () => socket.destroy());
      socket.on('close', () => sockets.delete(socket));
      socket.once('data', (head) => {
        const [, port, host] =
          /^CONNECT outbound_\.([0-9]+)_\._\.([a-z0-9.-]+):15443 HTTP\/1\.1\r\n/.exec(head.toString('latin1')) ?? [];
        const authority = `${host}:${port}`;
        edge.connects.push(authority);
        const target = targets.get(authority);
        if (edge.refuse || target === undefined) {
          const body = JSON.stringify(
            edge.refuse?.body ?? { error_code: 'tunnel_target_not_granted', error_description: 'no' },
          );
          socket.end(
            `HTTP/1.1 ${edge.refuse?.status ?? 403} No\r\nContent-Length: ${body.length}\r\nConnection: close\r\n` +
              `meshpass-error-code: ${JSON.parse(body).error_code}\r\nmeshpass-decision-id: dec-1\r\n\r\n${body}`,
          );
          return;
        }
        socket.pause();
        const upstream = tcpConnect({ port: target, host: '127.0.0.1', noDelay: true, allowHalfOpen: true }, () => {
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

/** Returns the path from `MESHPASS_ENVOY`, or of the lab's Envoy, which is installed if necessary. */
export function testEnvoy(): Promise<string> {
  envoyPath ??= process.env.MESHPASS_ENVOY ? Promise.resolve(process.env.MESHPASS_ENVOY) : ensureEnvoy(() => {});
  return envoyPath;
}
let envoyPath: Promise<string> | undefined;

/** All test files share the machine's loopback, so that each uses an address of its own. */
const OWN_ADDRESS = `127.${[64 + (process.pid % 60), crypto.getRandomValues(new Uint8Array(1))[0]!, 1 + (process.pid % 250)].join('.')}`;

export function service(overrides: Partial<ReachableService> = {}): ReachableService {
  return {
    grant: 'payments-dev',
    host: 'orders.shop.svc.cluster.local',
    address: OWN_ADDRESS,
    port: 8080,
    aliases: ['orders.shop.svc', 'orders.shop'],
    protocol: 'http',
    allow: ['GET /orders/*', 'POST /refunds'],
    spiffe_ids: ['spiffe://cluster.local/ns/shop/sa/orders'],
    ...overrides,
  };
}

export function listen(server: TlsServer | HttpsServer, host = '127.0.0.1'): Promise<number> {
  return new Promise((resolve) => {
    server.listen(0, host, () => resolve((server.address() as AddressInfo).port));
  });
}

function closeAll(server: TlsServer, sockets: Set<TLSSocket>): void {
  for (const socket of sockets) socket.destroy();
  server.close();
}
