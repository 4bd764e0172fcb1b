/**
 * Keeps track of who owns each connection. A connection belongs to the live session, edge or operator that sent its
 * last answered request. All other connections belong to strangers.
 */
import type { Socket } from 'node:net';
import { createUnauthenticatedConnections, sourceGroup, type UnauthenticatedConnection } from '@meshpass/identity';
import type { MiddlewareHandler } from 'hono';
import type { Random } from '../base/index.ts';
import type { Env } from './route.ts';
import { createProxyChecker } from './source-address.ts';

/** The maximum number of connections per session. If a session exceeds it, its oldest connection is evicted. */
const PER_SESSION = 32;
/** The maximum number of connections from strangers. Each TLS connection uses about 70 KB. */
const STRANGERS = 4_096;

/** The limits that can be configured. */
export interface ConnectionLimits {
  /** The maximum number of strangers' connections per source, which is an IPv4 address or an IPv6 /64. */
  readonly perSource: number;
  /** CIDR blocks of proxies that limit their own clients. Connections from these proxies are exempt from the limits. */
  readonly trustedProxies: readonly string[];
}

/** The open connections and their owners. */
export type Connections = ReturnType<typeof createConnections>;

interface Entry extends UnauthenticatedConnection {
  readonly raw: Socket;
  readonly viaProxy: boolean;
  /** The owner of the connection. Absent while the connection is waiting or its request is being processed. */
  owner?: { readonly session: string | undefined } | undefined;
  /** Whether a caller has been authenticated since the last request began. */
  proven: boolean;
}

/** Creates an empty registry of connections. */
export function createConnections({ perSource, trustedProxies }: ConnectionLimits) {
  const isProxy = createProxyChecker(trustedProxies);
  const entries = new WeakMap<Socket, Entry>();
  const strangers = createUnauthenticatedConnections({ strangers: STRANGERS, strangersPerSource: perSource });
  /** The connections of each session, starting with the oldest. */
  const owned = new Map<string, Set<Entry>>();
  let open = 0;

  function leave(entry: Entry): void {
    strangers.leave(entry);
    const session = entry.owner?.session;
    entry.owner = undefined;
    if (session === undefined) return;
    owned.get(session)?.delete(entry);
    if (owned.get(session)?.size === 0) owned.delete(session);
  }

  function wait(entry: Entry): void {
    leave(entry);
    if (!entry.viaProxy && !entry.raw.destroyed) strangers.enter(entry);
  }

  return {
    /** Registers an accepted connection by its TCP socket, before the costly TLS handshake. */
    add: (raw: Socket) => {
      open++;
      const address = raw.remoteAddress ?? 'unknown';
      const evict = () => void raw.resetAndDestroy();
      const entry: Entry = { raw, source: sourceGroup(address), viaProxy: isProxy(address), proven: false, evict };
      entries.set(raw, entry);
      raw.once('close', () => {
        open--;
        leave(entry);
      });
      wait(entry);
    },
    /** Registers the socket that HTTP requests arrive on, if it is not the TCP socket itself. */
    alias: (socket: Socket, raw: Socket | undefined) => {
      const entry = raw && entries.get(raw);
      if (entry) entries.set(socket, entry);
    },
    /**
     * Marks the start of a request.
     * @returns a function to call when the request ends. If no caller has been authenticated by then, the connection
     *   belongs to a stranger
     */
    began: (socket: Socket) => {
      const entry = entries.get(socket);
      if (!entry) return () => {};
      entry.proven = false;
      // The connection still belongs to its session while the next request is being authenticated. Otherwise, every
      // request would evict a stranger.
      if (entry.owner === undefined) wait(entry);
      return () => {
        if (entry.owner !== undefined && !entry.proven) wait(entry);
      };
    },
    /**
     * Assigns the connection to the session that authenticated its request. Without a session, the connection belongs
     * to an edge or an operator and is not limited.
     */
    belongs: (socket: Socket, session?: string) => {
      const entry = entries.get(socket);
      if (!entry || entry.viaProxy || entry.raw.destroyed) return;
      leave(entry);
      entry.owner = { session };
      entry.proven = true;
      if (session === undefined) return;
      const own = owned.get(session) ?? new Set();
      owned.set(session, own.add(entry));
      if (own.size <= PER_SESSION) return;
      const [oldest] = own;
      leave(oldest!);
      oldest!.raw.resetAndDestroy();
    },
    /**
     * Marks a connection as busy while its request is being processed.
     * @returns a function that marks the connection as waiting again
     */
    working: (socket: Socket) => {
      const entry = entries.get(socket);
      if (!entry || entry.owner !== undefined) return () => {};
      leave(entry);
      return () => {
        if (entry.owner === undefined) wait(entry);
      };
    },
    /** The number of open connections. */
    open: () => open,
    /** The number of open connections that belong to strangers. */
    strangers: () => strangers.size,
    /** The number of strangers' connections evicted so far. */
    evicted: () => strangers.evicted,
  };
}

/** Creates the middleware that assigns an id to each request and tracks the request on its connection. */
export function trackRequests({
  connections,
  random,
}: {
  readonly connections: Connections;
  readonly random: Random;
}): MiddlewareHandler<Env> {
  return async (c, next) => {
    const answered = connections.began(c.env.incoming.socket);
    c.set('requestId', random(9).toString('base64url'));
    await next().finally(answered);
    c.header('x-request-id', c.get('requestId'));
  };
}
