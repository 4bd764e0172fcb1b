/** Listening sockets, with bounds on everything a stranger can make a server wait for or hold. */
import { readFileSync, statSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { getRequestListener } from '@hono/node-server';
import { MeshpassError } from '@meshpass/identity';
import type { Hono } from 'hono';
import type { Env } from './decide.ts';

export interface Listening {
  /** `host:port` as bound. */
  readonly port: number;
  /** Connections that are open now, whether or not a request is under way. */
  readonly connections: () => number;
  /** Stops accepting, lets what is under way finish, cuts what is left after `patienceMs`. */
  readonly stop: (patienceMs: number) => Promise<void>;
}

const LIMITS = {
  requestTimeout: 30_000,
  headersTimeout: 10_000,
  keepAliveTimeout: 75_000,
  connectionsCheckingInterval: 2_000,
  maxHeaderSize: 16 * 1024,
};
const HANDSHAKE_TIMEOUT_MS = 10_000;
const MAX_CONNECTIONS = 20_000;
const RELOAD_MS = 30_000;

export interface ListenAddress {
  readonly host: string;
  readonly port: number;
}

/** @throws MeshpassError `config_invalid` when the certificate or key cannot be read */
export async function listenTls(
  app: Hono<Env>,
  address: ListenAddress,
  files: { readonly certFile: string; readonly keyFile: string },
  onFailure: (cause: unknown) => void,
): Promise<Listening> {
  const server = createTlsServer(
    {
      ...LIMITS,
      ...readPair(files),
      minVersion: 'TLSv1.2',
      handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
      ALPNProtocols: ['http/1.1'],
    },
    listener(app),
  );
  let seen = changed(files);
  // cert-manager and the like replace the files; a half-replaced pair does not load and is tried again.
  const reload = setInterval(() => {
    try {
      const now = changed(files);
      if (now === seen) return;
      server.setSecureContext({ ...readPair(files), minVersion: 'TLSv1.2' });
      seen = now;
    } catch (thrown) {
      onFailure(thrown);
    }
  }, RELOAD_MS);
  reload.unref();
  server.on('close', () => clearInterval(reload));
  return await listening(server, address);
}

export async function listenPlain(app: Pick<Hono<Env>, 'fetch'>, address: ListenAddress): Promise<Listening> {
  return await listening(createServer(LIMITS, listener(app)), address);
}

function listener(app: Pick<Hono<Env>, 'fetch'>) {
  // The global Request and Response stay as Node has them: other libraries in this process use them.
  return getRequestListener(app.fetch as Parameters<typeof getRequestListener>[0], { overrideGlobalObjects: false });
}

async function listening(server: Server, address: ListenAddress): Promise<Listening> {
  server.maxConnections = MAX_CONNECTIONS;
  let open = 0;
  server.on('connection', (socket) => {
    open++;
    socket.once('close', () => open--);
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(address.port, address.host, resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    connections: () => open,
    stop: async (patienceMs) => {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeIdleConnections();
      const cut = setTimeout(() => server.closeAllConnections(), patienceMs);
      await closed;
      clearTimeout(cut);
    },
  };
}

/** @throws MeshpassError `config_invalid` */
export function readPair({ certFile, keyFile }: { readonly certFile: string; readonly keyFile: string }) {
  try {
    return { cert: readFileSync(certFile), key: readFileSync(keyFile) };
  } catch (cause) {
    throw new MeshpassError('config_invalid', 'The TLS certificate or its key cannot be read.', { cause });
  }
}

function changed({ certFile, keyFile }: { readonly certFile: string; readonly keyFile: string }): string {
  return [certFile, keyFile].map((file) => statSync(file).mtimeMs).join(' ');
}
