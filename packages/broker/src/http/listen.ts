/** Opens listeners that limit how much an unauthenticated client can occupy or delay. */
import { createServer, type Server } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { isDeepStrictEqual } from 'node:util';
import { getRequestListener } from '@hono/node-server';
import { certificateValidity, MeshpassError, socketBelow } from '@meshpass/identity';
import type { Hono } from 'hono';
import type { Connections } from './connections.ts';
import { type KeyPairFiles, readKeyPair } from './key-pair.ts';
import type { Env } from './route.ts';

const LIMITS = {
  requestTimeout: 30_000,
  // This timeout starts when a client connects, and again at the first byte of each request. It limits both silent and
  // slow clients.
  headersTimeout: 5_000,
  keepAliveTimeout: 75_000,
  connectionsCheckingInterval: 1_000,
  maxHeaderSize: 16 * 1024,
};
/**
 * The maximum header size on the operator listener, in bytes. Operator tokens are large, because they contain the
 * claims of an ID token.
 */
const OPERATOR_HEADERS = 32 * 1024;
const HANDSHAKE_TIMEOUT_MS = 5_000;
const MAX_CONNECTIONS = 20_000;
const RELOAD_MS = 30_000;

/** The address to listen on. */
export interface ListenAddress {
  readonly host: string;
  readonly port: number;
}

/** The certificate and connections of a TLS listener. */
export interface TlsOptions {
  readonly files: KeyPairFiles;
  readonly connections: Connections;
  readonly onFailure: (cause: unknown) => void;
}

/**
 * Opens a TLS listener that reloads its certificate when the files change.
 * @throws MeshpassError `config_invalid` if the certificate or key is unusable
 */
export async function listenTls(app: Hono<Env>, address: ListenAddress, { files, connections, onFailure }: TlsOptions) {
  let current = readKeyPair(files);
  const server = createTlsServer(
    {
      ...LIMITS,
      ...current,
      minVersion: 'TLSv1.2',
      handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
      ALPNProtocols: ['http/1.1'],
    },
    listener(app),
  );
  // Tools such as cert-manager replace these files. If only one of them has been replaced so far, the pair fails to
  // load and is retried.
  const reload = setInterval(() => {
    try {
      const pair = readKeyPair(files);
      if (isDeepStrictEqual(pair, current)) return;
      server.setSecureContext({ ...pair, minVersion: 'TLSv1.2' });
      current = pair;
    } catch (thrown) {
      onFailure(thrown);
    }
  }, RELOAD_MS);
  reload.unref();
  server.on('close', () => clearInterval(reload));
  server.on('secureConnection', createSocketLinker(connections, onFailure));
  return {
    ...(await listening(server, address, connections)),
    /** Returns the validity period of the current certificate. */
    certificate: () => certificateValidity(current.cert),
  };
}

/**
 * Links each TLS socket to its TCP socket by object identity, because addresses are reused. If the TCP socket is
 * unknown, the connection always counts as a stranger's.
 * @param onFailure called at most once, because every connection would fail for the same reason
 */
export function createSocketLinker(
  connections: Pick<Connections, 'alias'>,
  onFailure: (cause: unknown) => void,
): (tls: TLSSocket) => void {
  let isTold = false;
  return (tls) => {
    const raw = socketBelow(tls);
    connections.alias(tls, raw);
    if (raw || isTold) return;
    isTold = true;
    onFailure(
      new MeshpassError(
        'internal',
        `Node.js ${process.version} does not expose the TCP socket below a TLS socket, so connections of live sessions are limited like those of clients without a session. Use the Node.js version that this release requires.`,
      ),
    );
  };
}

/** Opens a listener for plain HTTP. */
export async function listenPlain(app: Pick<Hono<Env>, 'fetch'>, address: ListenAddress, connections: Connections) {
  return await listening(
    createServer({ ...LIMITS, maxHeaderSize: OPERATOR_HEADERS }, listener(app)),
    address,
    connections,
  );
}

function listener(app: Pick<Hono<Env>, 'fetch'>) {
  // Do not replace Node's global `Request` and `Response`, which other libraries in this process use.
  return getRequestListener(app.fetch as Parameters<typeof getRequestListener>[0], { overrideGlobalObjects: false });
}

async function listening(server: Server, address: ListenAddress, connections: Connections) {
  server.maxConnections = MAX_CONNECTIONS;
  server.on('connection', connections.add);
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(address.port, address.host, resolve);
  });
  return {
    /** The port that the listener is bound to. */
    port: (server.address() as AddressInfo).port,
    /**
     * Stops accepting connections, waits for requests in progress, and closes the remaining connections after
     * `patienceMs`.
     */
    stop: async (patienceMs: number) => {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeIdleConnections();
      const cut = setTimeout(() => server.closeAllConnections(), patienceMs);
      await closed;
      clearTimeout(cut);
    },
  };
}
