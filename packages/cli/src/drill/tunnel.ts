/**
 * Opens a tunnel through the edge, or directly to a gateway or a Pod. It works like the agent's tunnels, except that
 * each part is configurable and the report shows which layer ended the tunnel.
 */
import { connect as connectTcp, type Socket } from 'node:net';
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from 'node:tls';
import type { Svid } from '@meshpass/agent/session/enrol';
import { formatSni, parseJson, parseTarget, spiffeIdFromSan } from '@meshpass/identity';

/** The credentials to present, and the roots to trust. */
export interface TunnelCredentials {
  /** The CA of the edge, in PEM format. Defaults to Node's built-in roots. */
  readonly ca?: string | undefined;
  readonly mesh: { readonly roots: readonly string[] };
  readonly svids: ReadonlyMap<string, Pick<Svid, 'chain' | 'privateKey'>>;
}

export interface TunnelRequest {
  /** The authority of the CONNECT request, in the form `host:port`. */
  readonly target: string;
  /** Additional header lines for the CONNECT request, each of which ends with CRLF. */
  readonly connectHeaders?: string;
  /** The grant whose SVID is presented to the edge and the workload. If it is `none`, no SVID is presented. */
  readonly grant: string;
  /** The certificate and key to present to the edge instead of the SVID, in PEM format. */
  readonly outerCertificate?: Pick<Svid, 'chain' | 'privateKey'>;
  /** The address of the edge. Absent if `straightTo` is set. */
  readonly edge?: { readonly host: string; readonly port: number };
  /** The address of a gateway or a Pod to connect to directly, as a client inside the mesh would. */
  readonly straightTo?: { readonly host: string; readonly port: number };
  readonly sni?: string;
  readonly alpn?: readonly string[];
  /**
   * The SPIFFE IDs that the workload may present. By default, any certificate that chains to the mesh's roots is
   * accepted.
   */
  readonly peers?: readonly string[];
  /**
   * Set this property for a server outside the mesh. The server is verified by a DNS name in its certificate, and no
   * SVID is presented to it.
   */
  readonly outside?: { readonly name: string; readonly ca?: string };
  /** The text to send over the inner connection. If it is omitted, the tunnel is only opened. */
  readonly send?: string;
}

export interface TunnelReport {
  /** The layer that the tunnel reached: the edge, the inner TLS handshake, or the service's response. */
  readonly stage: 'edge' | 'inner' | 'answer';
  readonly edgeStatus?: number;
  /** The `error_code` that the edge returned when it refused the tunnel. */
  readonly edgeCode?: string;
  readonly error?: string;
  /** The bytes that were received over the inner connection, at most 64 KiB. */
  readonly answer?: string;
}

export interface OpenTunnel {
  /** The inner TLS connection, which leads to the workload. */
  readonly socket: TLSSocket;
  /** Closes both the inner and the outer connection. */
  readonly end: () => void;
}

const ALPN = ['istio-http/1.1', 'istio', 'http/1.1'];
const PATIENCE_MS = 5_000;
const STILL_OPEN_MS = 300;
const MAX_ANSWER = 65_536;

/**
 * Opens a tunnel, sends the text, and reports how far it got. Never throws. A refusal is returned as a report instead.
 */
export async function probeTunnel(credentials: TunnelCredentials, order: TunnelRequest): Promise<TunnelReport> {
  const opened = await openTunnel(credentials, order);
  if (!('socket' in opened)) return opened;
  try {
    const { socket } = opened;
    return {
      stage: 'answer',
      answer: order.send === undefined ? await waitForClose(socket) : await sendAndRead(socket, order.send),
    };
  } catch (thrown) {
    return { stage: 'inner', error: reasonOf(thrown) };
  } finally {
    opened.end();
  }
}

/** Opens a tunnel and keeps it open. Never throws. A refusal is returned as a report instead. */
export async function openTunnel(
  credentials: TunnelCredentials,
  order: TunnelRequest,
): Promise<OpenTunnel | TunnelReport> {
  const svid = credentials.svids.get(order.grant);
  let below: Socket;
  try {
    if (order.straightTo) {
      below = await open(connectTcp(order.straightTo), 'connect');
    } else {
      const outer = order.outerCertificate ?? svid;
      below = await open(
        connectTls({
          host: order.edge!.host,
          port: order.edge!.port,
          servername: order.edge!.host,
          ALPNProtocols: ['http/1.1'],
          ...(credentials.ca !== undefined && { ca: credentials.ca }),
          ...(outer && { key: outer.privateKey, cert: outer.chain }),
        }),
        'secureConnect',
      );
      const refusal = await connectThrough(below, order.target, order.connectHeaders ?? '');
      if (refusal) {
        below.destroy();
        return refusal;
      }
    }
  } catch (thrown) {
    return { stage: 'edge', error: reasonOf(thrown) };
  }
  const inner = connectTls({
    socket: below,
    ALPNProtocols: [...(order.alpn ?? ALPN)],
    ...(order.outside
      ? { servername: order.outside.name, ...(order.outside.ca !== undefined && { ca: order.outside.ca }) }
      : ofWorkload(credentials, order)),
  });
  try {
    await open(inner, 'secureConnect');
  } catch (thrown) {
    below.destroy();
    return { stage: 'inner', error: reasonOf(thrown) };
  }
  return {
    socket: inner,
    end: () => {
      inner.destroy();
      below.destroy();
    },
  };
}

function ofWorkload(
  { svids, mesh }: TunnelCredentials,
  { sni, target, peers, grant }: TunnelRequest,
): ConnectionOptions {
  const svid = svids.get(grant);
  return {
    servername: sni ?? formatSni(parseTarget(target)!),
    ca: [...mesh.roots],
    checkServerIdentity: (_name, { subjectaltname }) =>
      peers === undefined || peers.includes(spiffeIdFromSan(subjectaltname) ?? '')
        ? undefined
        : new Error(`the certificate for ${target} belongs to ${subjectaltname}`),
    ...(svid && { key: svid.privateKey, cert: svid.chain }),
  };
}

async function connectThrough(socket: Socket, target: string, headers: string): Promise<TunnelReport | undefined> {
  socket.write(`CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n${headers}\r\n`);
  const head = await readUntil(socket, (text) => text.includes('\r\n\r\n'));
  const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(head)?.[1] ?? 0);
  if (status === 200) return undefined;
  const length = Number(/content-length: *(\d+)/i.exec(head)?.[1] ?? 0);
  const start = head.indexOf('\r\n\r\n') + 4;
  const whole =
    head.length - start >= length ? head : head + (await readUntil(socket, (text) => text.length >= length));
  const { error_code: edgeCode } = (parseJson(whole.slice(start)) ?? {}) as { error_code?: string };
  return { stage: 'edge', edgeStatus: status, ...(edgeCode !== undefined && { edgeCode }) };
}

/**
 * Waits briefly to see whether the peer closes the connection. A TLS 1.3 client finds out that its certificate was
 * rejected only after its own handshake has completed, and Envoy evaluates TCP rules only when the first byte arrives.
 * @param say the first bytes to send, if any
 * @returns the bytes that were received in the meantime
 * @throws Error if the peer closed the connection
 */
export function waitForClose(socket: TLSSocket, say?: string): Promise<string> {
  if (say !== undefined) socket.write(say, 'latin1');
  return readFor(STILL_OPEN_MS, socket, {
    enough: () => false,
    late: (text) => text.slice(0, MAX_ANSWER),
    closed: () => new Error('by the other side'),
  });
}

/**
 * Sends a request over an open connection.
 * @returns the response, at most 64 KiB
 */
export async function sendAndRead(socket: TLSSocket, text: string): Promise<string> {
  socket.write(text);
  return readUntil(socket, (answer) => {
    const headEnd = answer.indexOf('\r\n\r\n');
    if (headEnd < 0) return false;
    const head = answer.slice(0, headEnd);
    if (/^HTTP\/1\.1 (204|304)/.test(head)) return true;
    if (/transfer-encoding: *chunked/i.test(head)) return answer.endsWith('0\r\n\r\n');
    const length = /content-length: *(\d+)/i.exec(head);
    return length !== null && answer.length >= headEnd + 4 + Number(length[1]);
  });
}

function readUntil(socket: Socket, enough: (text: string) => boolean): Promise<string> {
  return readFor(PATIENCE_MS, socket, {
    enough: (text) => enough(text) || text.length > MAX_ANSWER,
    late: () => new Error('no answer'),
    closed: (text) => text || new Error('closed without an answer'),
  });
}

interface Reading {
  readonly enough: (text: string) => boolean;
  /** Returns the result to use when the time limit has passed. */
  readonly late: (text: string) => string | Error;
  /** Returns the result to use when the peer closes the connection. */
  readonly closed: (text: string) => string | Error;
}

function readFor(ms: number, socket: Socket, { enough, late, closed }: Reading): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    const done = (result: string | Error) => {
      clearTimeout(timer);
      socket.off('data', onData).off('error', done).off('close', onClose).off('end', onClose);
      if (result instanceof Error) reject(result);
      else resolve(result);
    };
    const onData = (part: Buffer) => {
      text += part.toString('latin1');
      if (enough(text)) done(text);
    };
    const onClose = () => done(closed(text));
    const timer = setTimeout(() => done(late(text)), ms);
    socket.on('data', onData).on('error', done).on('close', onClose).on('end', onClose);
  });
}

function open<T extends Socket>(socket: T, event: 'connect' | 'secureConnect'): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => socket.destroy(new Error(`no ${event}`)), PATIENCE_MS);
    socket.once('close', () => reject(new Error('closed')));
    socket.once('error', (error) => {
      clearTimeout(timer);
      reject(error);
    });
    socket.once(event, () => {
      clearTimeout(timer);
      resolve(socket);
    });
  });
}

function reasonOf(thrown: unknown): string {
  const error = thrown as NodeJS.ErrnoException;
  // OpenSSL error messages consist of the thread, code, library, function, reason and source location, separated by
  // colons.
  const tls = /SSL routines:[^:]*:([^:]+):/.exec(error.message)?.[1];
  if (tls !== undefined) return `${error.code}: ${tls}`;
  return error.code ? `${error.code}: ${error.message}` : String(error.message ?? thrown);
}
