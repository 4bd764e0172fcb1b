/** One connection to the edge: outer mutual TLS, then CONNECT (docs/protocol.md, "Edge"). */
import { connect, type SecureContext, type TLSSocket } from 'node:tls';
import { isErrorCode, MeshpassError } from '@meshpass/identity/error';
import type { Target } from '@meshpass/identity/spiffe';
import { plainText } from '@meshpass/identity/text';

export interface EdgeAddress {
  /** Name in the edge's certificate. */
  readonly host: string;
  readonly port: number;
}

export interface OuterOptions {
  readonly edge: EdgeAddress;
  readonly context: SecureContext;
  /** A TLS session of an earlier connection under the same SVID. */
  readonly session?: Buffer | undefined;
  readonly onSession: (session: Buffer) => void;
  /** Milliseconds for TCP and TLS together. */
  readonly timeout: number;
}

const MAX_ANSWER = 65_536;

/** Opens outer TLS to the edge. @throws MeshpassError agent_edge_unreachable */
export function connectToEdge(options: OuterOptions): Promise<TLSSocket> {
  const { edge } = options;
  return new Promise((resolve, reject) => {
    const socket = connect({
      host: edge.host,
      port: edge.port,
      servername: edge.host,
      secureContext: options.context,
      minVersion: 'TLSv1.3',
      ALPNProtocols: ['http/1.1'],
      ...(options.session ? { session: options.session } : {}),
    });
    const fail = (cause: Error) => {
      clearTimeout(timer);
      socket.destroy();
      reject(edgeUnreachable(edge, cause));
    };
    const timer = setTimeout(() => fail(new Error('timeout')), options.timeout);
    socket.setNoDelay(true);
    socket.once('error', fail);
    socket.on('session', options.onSession);
    socket.once('secureConnect', () => {
      clearTimeout(timer);
      socket.off('error', fail);
      socket.on('error', () => socket.destroy());
      resolve(socket);
    });
  });
}

/**
 * Asks the edge for a tunnel.
 * @throws MeshpassError with the edge's own code (tunnel_...), or agent_edge_unreachable
 */
export function requestTunnel(socket: TLSSocket, edge: EdgeAddress, target: Target, timeout: number): Promise<void> {
  return new Promise((resolve, reject) => {
    let answer: Buffer = Buffer.alloc(0);
    const settle = (error?: MeshpassError) => {
      clearTimeout(timer);
      socket.off('data', onData);
      socket.off('close', onClose);
      if (!error) return resolve();
      socket.destroy();
      reject(error);
    };
    const onClose = () => settle(edgeUnreachable(edge, new Error('the edge closed the connection')));
    const onData = (chunk: Buffer) => {
      answer = answer.length === 0 ? chunk : Buffer.concat([answer, chunk]);
      const end = answer.indexOf('\r\n\r\n', 0, 'latin1');
      if (end < 0) {
        if (answer.length > MAX_ANSWER) settle(edgeUnreachable(edge, new Error('the answer has no end')));
        return;
      }
      const head = answer.toString('latin1', 0, end + 2);
      if (/^HTTP\/1\.1 200 /.test(head)) {
        const surplus = answer.length - end - 4;
        settle(surplus === 0 ? undefined : edgeUnreachable(edge, new Error('bytes after the answer')));
        return;
      }
      const length = Number(/\r\ncontent-length:[\t ]*([0-9]{1,5})[\t ]*\r\n/i.exec(head)?.[1] ?? 0);
      if (answer.length >= end + 4 + length) settle(refusal(edge, head, answer.subarray(end + 4, end + 4 + length)));
    };
    const timer = setTimeout(() => settle(edgeUnreachable(edge, new Error('no answer to CONNECT'))), timeout);
    socket.on('data', onData);
    socket.on('close', onClose);
    const authority = `${target.host}:${target.port}`;
    socket.write(`CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n\r\n`, 'latin1');
  });
}

function refusal(edge: EdgeAddress, head: string, body: Buffer): MeshpassError {
  try {
    const { error_code: code, error_description: message } = JSON.parse(body.toString('utf8'));
    if (isErrorCode(code) && typeof message === 'string') {
      return new MeshpassError(code, plainText(message.slice(0, 1000)), { detail: { at: 'edge' } });
    }
  } catch {
    // Not the edge's own answer: told below.
  }
  return edgeUnreachable(edge, new Error(`answered ${plainText(head.slice(0, 60).split('\r\n')[0]!)}`));
}

function edgeUnreachable(edge: EdgeAddress, cause: Error): MeshpassError {
  return new MeshpassError(
    'agent_edge_unreachable',
    `The edge ${edge.host}:${edge.port} cannot be reached (${reason(cause)}). Check that this workspace may connect to it; ` +
      'meshpass status tells when it worked last.',
    { cause },
  );
}

function reason(cause: Error): string {
  const code = (cause as NodeJS.ErrnoException).code;
  return code ?? cause.message.slice(0, 120);
}
