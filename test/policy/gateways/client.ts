/** Sends requests to a gateway like any client outside the mesh, each over a new connection. */
import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { OutsideRequest } from '@meshpass/analysis/evaluate';
import type { Identity } from '../differential/identities.ts';

/** Response: the headers that routes set name the route and its destination. */
export interface Seen {
  /** `closed` if the connection ends without a response. */
  readonly status: number | 'closed';
  /** Whether the response comes from behind the gateway. */
  readonly forwarded: boolean;
  readonly route: string | undefined;
  readonly destination: string | undefined;
}

const CLOSED: Seen = { status: 'closed', forwarded: false, route: undefined, destination: undefined };
const PATIENCE_MS = 10_000;

/** @param certificates trusted ones by principal; the empty name is one that no gateway trusts */
export function sendTo(
  host: string,
  request: OutsideRequest,
  certificates: ReadonlyMap<string, Identity>,
): Promise<Seen> {
  return new Promise((resolve) => {
    let text = '';
    const socket = open(host, request, certificates);
    const end = () => {
      socket.destroy();
      resolve(parse(text));
    };
    socket.setTimeout(PATIENCE_MS, () => socket.destroy());
    socket.on('error', () => {});
    socket.once('close', end);
    socket.on('data', (part: Buffer) => {
      text += part.toString('latin1');
      if (text.includes('\r\n\r\n')) end();
    });
    socket.once(request.tls ? 'secureConnect' : 'connect', () => socket.write(written(request), 'latin1'));
  });
}

function open(
  host: string,
  { port, tls, sourceIp }: OutsideRequest,
  certificates: ReadonlyMap<string, Identity>,
): Socket {
  const to = { host, port, ...(sourceIp !== undefined && { localAddress: sourceIp }) };
  if (!tls) return connectTcp(to);
  const { sni, certificate } = tls;
  const identity = certificate && certificates.get(certificate.principal ?? '');
  return connectTls({ ...to, ...identity, rejectUnauthorized: false, ...(sni !== undefined && { servername: sni }) });
}

function written({ http }: OutsideRequest): string {
  const { method, path, authority, headers = {} } = http!;
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  return `${method} ${path} HTTP/1.1\r\nhost: ${authority}\r\ncontent-length: 0\r\n${lines.join('')}\r\n`;
}

function parse(text: string): Seen {
  const status = /^HTTP\/1\.1 (\d{3})/.exec(text)?.[1];
  if (status === undefined) return CLOSED;
  const header = (name: string) => new RegExp(`\\r\\n${name}: *([^\\r]*)`, 'i').exec(text)?.[1];
  return {
    status: Number(status),
    forwarded: header('x-envoy-upstream-service-time') !== undefined,
    route: header('x-route'),
    destination: header('x-destination'),
  };
}
