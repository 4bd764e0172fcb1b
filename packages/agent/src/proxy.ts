/**
 * The loopback proxy: HTTP/1.1 (absolute form and CONNECT) and SOCKS5 with remote names on one port, told apart by the
 * first byte. It asks for the secret of this run, because a Codespace may forward any listening port to the internet.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { createServer, type Server, type Socket } from 'node:net';
import { MeshpassError, toMeshpassError } from '@meshpass/identity/error';
import { carryToService, type Mesh, serviceRoute } from './carry.ts';
import { carryHttp1 } from './carry-http1.ts';
import { carryBytes } from './carry-tcp.ts';
import { connectDirect } from './direct.ts';
import { PROXY_USER } from './env.ts';
import { MAX_HEAD, parseHead, type RequestHead } from './http1.ts';
import { destinationOf } from './mesh-names.ts';
import { notGranted, renderRefusal } from './refusal.ts';
import type { HttpCarrier, Route } from './route.ts';
import { SOCKS_VERSION, serveSocks } from './socks5.ts';

const HANDSHAKE_TIMEOUT = 30_000;

export interface LoopbackProxy {
  readonly port: number;
  /** The secret of this run; `meshpass env` puts it into the proxy URL. */
  readonly secret: string;
  close(): void;
}

/** Listens on 127.0.0.1. @param port 0 for any */
export async function startProxy(mesh: () => Mesh, port: number): Promise<LoopbackProxy> {
  const secret = randomBytes(24).toString('base64url');
  const clients = new Set<Socket>();
  const server: Server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
    clients.add(client);
    client.once('close', () => clients.delete(client));
    accept(client, mesh, secret);
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host: '127.0.0.1', port, backlog: 511 }, () => resolve());
  });
  const address = server.address();
  return {
    port: typeof address === 'object' && address ? address.port : port,
    secret,
    close: () => {
      server.close();
      for (const client of clients) client.destroy();
    },
  };
}

function accept(client: Socket, mesh: () => Mesh, secret: string): void {
  const onError = () => client.destroy();
  client.on('error', onError);
  client.setTimeout(HANDSHAKE_TIMEOUT, () => client.destroy());
  let read: Buffer = Buffer.alloc(0);
  const onEnd = () => client.end();
  const onData = (chunk: Buffer) => {
    read = read.length === 0 ? chunk : Buffer.concat([read, chunk]);
    const socks = read[0] === SOCKS_VERSION;
    const end = socks ? 0 : read.indexOf('\r\n\r\n', 0, 'latin1');
    if (!socks && end < 0 && read.length <= MAX_HEAD) return;
    client.pause();
    client.off('data', onData).off('end', onEnd).off('error', onError);
    if (socks) {
      client.on('error', onError);
      serveSocks(client, read, {
        authorize: (user, password) => isSecret(`${user}:${password}`, secret),
        connect: (host, port, established, failed) => tunnel(client, mesh, host, port, established, failed),
      });
      return;
    }
    client.setTimeout(0);
    if (read.toString('latin1', 0, 8) === 'CONNECT ') connectMethod(client, mesh, secret, read, end);
    else {
      carryHttp1(client, proxyCarrier(mesh, secret), read);
      client.resume();
    }
  };
  client.on('data', onData).once('end', onEnd);
}

/** Requests in absolute form (RFC 9112 section 3.2.2), to services of the mesh and to anywhere else. */
function proxyCarrier(mesh: () => Mesh, secret: string): HttpCarrier {
  const { tokenHeader, sessionId } = mesh();
  return {
    tokenHeader,
    sessionId,
    route: (head) => {
      authorize(head, secret);
      const url = /^http:\/\/([^/?#@]+)(\/[^#]*|\?[^#]*)?$/i.exec(head.target);
      const authority = url && parseAuthority(url[1]!, 80);
      if (!authority) {
        throw new MeshpassError(
          'request_malformed',
          'A proxy is asked with http://HOST/PATH, or with CONNECT HOST:PORT.',
        );
      }
      const { host, port } = authority;
      const path = url[2] === undefined ? '/' : url[2].startsWith('?') ? `/${url[2]}` : url[2];
      const { services } = mesh();
      const destination = destinationOf(host, port, services);
      if (destination.kind === 'not-granted') throw notGranted(`${host}:${port}`, services);
      // RFC 9112 section 3.2.2: the Host that a proxy sends on is the one of the target, whatever the client sent.
      const lines = withHost(head.lines, url[1]!);
      if (destination.kind === 'service') return serviceRoute(head, destination.service, mesh, path, lines);
      const direct: Route = {
        key: `direct ${host}:${port}`,
        target: path,
        inserted: '',
        lines,
        connect: () => connectDirect(host, port, destination.looksMeshed, services),
      };
      return direct;
    },
  };
}

function connectMethod(client: Socket, mesh: () => Mesh, secret: string, read: Buffer, end: number): void {
  client.on('error', () => client.destroy());
  const rest = read.subarray(end + 4);
  let head: RequestHead | undefined;
  const refuse = (error: MeshpassError) => {
    client.end(renderRefusal(error, { accept: head?.accept, sessionId: mesh().sessionId, close: true }));
    client.resume();
  };
  try {
    if (end < 0) throw new MeshpassError('request_too_large', 'The head of the request is too long.');
    head = parseHead(read.toString('latin1', 0, end + 2), mesh().tokenHeader);
    authorize(head, secret);
    const authority = parseAuthority(head.target);
    if (!authority) throw new MeshpassError('request_malformed', 'CONNECT wants HOST:PORT.');
    const { host, port } = authority;
    tunnel(client, mesh, host, port, () => client.write('HTTP/1.1 200 Connection established\r\n\r\n'), refuse, rest);
  } catch (error) {
    refuse(toMeshpassError(error));
  }
}

/** Joins a client that has named its destination to it. */
function tunnel(
  client: Socket,
  mesh: () => Mesh,
  host: string,
  port: number,
  established: () => void,
  failed: (error: MeshpassError) => void,
  rest?: Buffer,
): void {
  client.setTimeout(0);
  const { services } = mesh();
  const destination = destinationOf(host, port, services);
  if (destination.kind === 'not-granted') {
    failed(notGranted(`${host}:${port}`, services));
  } else if (destination.kind === 'service') {
    established();
    client.removeAllListeners('error');
    carryToService(client, destination.service, mesh, rest);
    if (destination.service.protocol !== 'tcp') client.resume();
  } else {
    connectDirect(host, port, destination.looksMeshed, services).then(
      (upstream) => {
        if (client.destroyed) return void upstream.destroy();
        established();
        carryBytes(client, upstream, rest);
        client.resume();
      },
      (error) => failed(toMeshpassError(error)),
    );
  }
}

function authorize(head: RequestHead, secret: string): void {
  const credentials = /^basic +([A-Za-z0-9+/=]+)$/i.exec(head.proxyAuthorization ?? '')?.[1];
  const plain = credentials === undefined ? '' : Buffer.from(credentials, 'base64').toString('utf8');
  if (isSecret(plain, secret)) return;
  throw new MeshpassError(
    'agent_proxy_unauthorized',
    'This proxy belongs to one run of the agent and asks for its secret: eval "$(meshpass env)" sets it.',
  );
}

/** In constant time; hashing makes the lengths equal. */
function isSecret(given: string, secret: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(given), digest(`${PROXY_USER}:${secret}`));
}

function withHost(lines: string, authority: string): string {
  const others = lines.replace(/^host:[^\r]*\r\n/im, '');
  return `Host: ${authority}\r\n${others}`;
}

function parseAuthority(
  text: string,
  defaultPort?: number,
): { readonly host: string; readonly port: number } | undefined {
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::([0-9]{1,5}))?$/.exec(text);
  if (!match) return undefined;
  const port = match[3] === undefined ? defaultPort : Number(match[3]);
  if (port === undefined || port < 1 || port > 65_535) return undefined;
  return { host: (match[1] ?? match[2]!).toLowerCase(), port };
}
