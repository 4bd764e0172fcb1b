/**
 * Who holds connections. One whose last answered request was made by a live session, an edge or an operator belongs to it; every
 * other is a stranger's, and waits: strangers' connections are bounded by source and in all, and a new one beyond the bound takes the
 * place of the oldest. So nobody is kept out by connections that say nothing, not even behind the same address.
 */
import type { Socket } from 'node:net';
import { groupOf } from '../limits/source-address.ts';

/** Connections of one session beyond this many: the oldest goes. */
const PER_SESSION = 32;
/** Strangers' connections in all. A TLS connection costs some 70 KB. */
const STRANGERS = 4_096;

export interface ConnectionLimits {
  /** Strangers' connections of one source: an IPv4 address, or an IPv6 /64. */
  readonly perSource: number;
  /** Whether the peer bounds its own clients: its connections are not counted by source. */
  readonly isProxy: (address: string) => boolean;
}

export interface Connections {
  /** A connection that was accepted, by its TCP socket; before TLS, which costs the most. */
  readonly add: (raw: Socket) => void;
  /** What an HTTP request names as its socket, where that is another one than the TCP socket. */
  readonly alias: (socket: Socket, raw: Socket | undefined) => void;
  /** A request has begun on it. @returns to be called when it is answered: where nobody was named, it is a stranger's from then on */
  readonly began: (socket: Socket) => () => void;
  /** Its request is proven to be this session's; without one, that of an edge or an operator, which nothing bounds. */
  readonly belongs: (socket: Socket, session?: string) => void;
  /** What is asked is being done: it does not count among those that wait. @returns ends that */
  readonly working: (socket: Socket) => () => void;
  /** Connections that are open now. */
  readonly open: () => number;
  /** Of those, strangers'. */
  readonly strangers: () => number;
  /** Strangers' connections that others took the place of, so far. */
  readonly evicted: () => number;
}

interface Entry {
  readonly raw: Socket;
  readonly source: string;
  readonly viaProxy: boolean;
  /** Absent: it waits, or is being worked for. */
  owner?: { readonly session: string | undefined } | undefined;
  /** Whether somebody was named since the last request began. */
  proven: boolean;
}

export function createConnections({ perSource, isProxy }: ConnectionLimits): Connections {
  const entries = new WeakMap<Socket, Entry>();
  // In the order in which they began to wait: the first is the oldest.
  const waiting = new Map<string, Set<Entry>>();
  const owned = new Map<string, Set<Entry>>();
  let open = 0;
  let strangers = 0;
  let evicted = 0;

  function leave(entry: Entry): void {
    if (remove(waiting, entry.source, entry)) strangers--;
    if (entry.owner?.session !== undefined) remove(owned, entry.owner.session, entry);
    entry.owner = undefined;
  }

  function wait(entry: Entry): void {
    leave(entry);
    if (entry.viaProxy || entry.raw.destroyed) return;
    insert(waiting, entry.source, entry);
    strangers++;
    if (waiting.get(entry.source)!.size > perSource) evictOldest(waiting.get(entry.source)!);
    else if (strangers > STRANGERS) evictOldest(largest(waiting));
  }

  function evictOldest(of: Set<Entry>): void {
    const [oldest] = of;
    evicted++;
    leave(oldest!);
    oldest!.raw.resetAndDestroy();
  }

  return {
    add: (raw) => {
      open++;
      const address = raw.remoteAddress ?? 'unknown';
      const entry: Entry = { raw, source: groupOf(address), viaProxy: isProxy(address), proven: false };
      entries.set(raw, entry);
      raw.once('close', () => {
        open--;
        leave(entry);
      });
      wait(entry);
    },
    alias: (socket, raw) => {
      const entry = raw && entries.get(raw);
      if (entry) entries.set(socket, entry);
    },
    began: (socket) => {
      const entry = entries.get(socket);
      if (!entry) return () => {};
      entry.proven = false;
      // One that belongs to a session does not become a stranger's to prove it again: it would push out a stranger each time.
      if (entry.owner === undefined) wait(entry);
      return () => {
        if (entry.owner !== undefined && !entry.proven) wait(entry);
      };
    },
    belongs: (socket, session) => {
      const entry = entries.get(socket);
      if (!entry || entry.viaProxy || entry.raw.destroyed) return;
      leave(entry);
      entry.owner = { session };
      entry.proven = true;
      if (session === undefined) return;
      insert(owned, session, entry);
      if (owned.get(session)!.size > PER_SESSION) evictOldest(owned.get(session)!);
    },
    working: (socket) => {
      const entry = entries.get(socket);
      if (!entry || entry.owner !== undefined) return () => {};
      leave(entry);
      return () => {
        if (entry.owner === undefined) wait(entry);
      };
    },
    open: () => open,
    strangers: () => strangers,
    evicted: () => evicted,
  };
}

function insert(into: Map<string, Set<Entry>>, key: string, entry: Entry): void {
  const found = into.get(key);
  if (found) found.add(entry);
  else into.set(key, new Set([entry]));
}

function remove(from: Map<string, Set<Entry>>, key: string, entry: Entry): boolean {
  const found = from.get(key);
  if (!found?.delete(entry)) return false;
  if (found.size === 0) from.delete(key);
  return true;
}

function largest(of: Map<string, Set<Entry>>): Set<Entry> {
  let most = new Set<Entry>();
  for (const one of of.values()) if (one.size > most.size) most = one;
  return most;
}
