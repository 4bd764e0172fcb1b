/** Plays a client of the edge whose every byte is given: runs on a host of the lab, takes orders (see ordered-process.ts). */
import { connect as connectTcp, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { connect as connectTls, type SecureVersion, type TLSSocket } from 'node:tls';

export interface EdgeOrder {
  readonly edge: { readonly host: string; readonly port: number };
  /** Sends `head` first, without TLS. */
  readonly plain?: boolean;
  readonly credential?: { readonly key: string; readonly chain: string };
  readonly version?: SecureVersion;
  readonly alpn?: readonly string[];
  /** A TLS session to resume, base64. */
  readonly ticket?: string;
  /** Bytes to send once the connection is open, base64. */
  readonly head: string;
  /** Sent when the edge has answered 200, base64. */
  readonly inner: string;
}

export interface EdgeReport {
  /** Everything that came, base64. */
  readonly answer: string;
  /** The edge has ended the connection. */
  readonly ended: boolean;
  /** Why there was no TLS. */
  readonly tls?: string;
  /** A TLS session that can be resumed, base64. */
  readonly ticket?: string;
}

/** Longer than any limit of the edge on a client that must send more. */
const PATIENCE_MS = 15_000;
const ESTABLISHED = 'HTTP/1.1 200 OK\r\n\r\n';

function speak(order: EdgeOrder): Promise<EdgeReport> {
  const { host, port } = order.edge;
  const socket: Socket | TLSSocket = order.plain
    ? connectTcp({ host, port })
    : connectTls({
        host,
        port,
        servername: host,
        ALPNProtocols: [...(order.alpn ?? ['http/1.1'])],
        ...(order.credential && { key: order.credential.key, cert: order.credential.chain }),
        ...(order.version && { minVersion: order.version, maxVersion: order.version }),
        ...(order.ticket && { session: Buffer.from(order.ticket, 'base64') }),
      });
  return new Promise((resolve) => {
    let answer = Buffer.alloc(0);
    let secured = order.plain === true;
    let ticket: string | undefined;
    let failure: string | undefined;
    const done = (ended: boolean) => {
      clearTimeout(timer);
      socket.destroy();
      const tls = secured ? undefined : (failure ?? 'closed');
      resolve({ answer: answer.toString('base64'), ended, ...(tls && { tls }), ...(ticket && { ticket }) });
    };
    const timer = setTimeout(() => done(false), PATIENCE_MS);
    const begin = () => {
      secured = true;
      socket.write(Buffer.from(order.head, 'base64'));
    };
    socket.on(order.plain ? 'connect' : 'secureConnect', begin);
    socket.on('session', (session: Buffer) => {
      ticket = session.toString('base64');
    });
    socket.on('data', (part: Buffer) => {
      const before = answer.length;
      answer = Buffer.concat([answer, part]);
      if (!answer.toString('latin1').startsWith(ESTABLISHED)) return;
      if (before < ESTABLISHED.length) socket.write(Buffer.from(order.inner, 'base64'));
      // A record of the workload, or the edge's alert: both say all.
      if (answer.length > ESTABLISHED.length) done(true);
    });
    socket.on('error', (error: NodeJS.ErrnoException) => {
      failure = error.code ?? error.message;
    });
    socket.on('end', () => done(true));
    socket.on('close', () => done(true));
  });
}

createInterface({ input: process.stdin }).on('line', (line) => {
  const { id, order } = JSON.parse(line) as { id: number; order: EdgeOrder };
  speak(order).then((result) => console.log(JSON.stringify({ id, result })));
});
