/** Serves a node request handler on one address, over TLS when a certificate is given. */
import type { RequestListener } from 'node:http';
import { createServer as createHttpServer } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';

export interface TlsFiles {
  /** PEM, the leaf first. */
  readonly cert: string;
  /** PEM. */
  readonly key: string;
}

export interface Listening {
  /** Scheme, host and port; the host is the requested one, so `https://0.0.0.0:443` may need a name. */
  readonly url: string;
  readonly port: number;
  close(): Promise<void>;
}

/**
 * @param address `HOST:PORT`, port 0 for any free one
 * @param handler called for each request
 * @param onConnection called for each connection before anything is read from it
 */
export async function listen(
  address: string,
  handler: RequestListener,
  tls?: TlsFiles,
  onConnection: (socket: Socket) => void = () => {},
): Promise<Listening> {
  const colon = address.lastIndexOf(':');
  const host = address.slice(0, colon);
  const server = tls ? createHttpsServer({ cert: tls.cert, key: tls.key }, handler) : createHttpServer(handler);
  server.on('connection', onConnection);
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(Number(address.slice(colon + 1)), host, resolve);
  });
  const { port } = server.address() as AddressInfo;
  return {
    url: `${tls ? 'https' : 'http'}://${host}:${port}`,
    port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
