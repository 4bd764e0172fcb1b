/**
 * The control connections of an edge: it carries leases to the broker and the broker's statements to agents. It can read and
 * withhold them, and make none: leases are signed by sessions, statements by the broker.
 */
import type { TLSSocket } from 'node:tls';
import type { AgentFrame, DrainingTunnels, EdgeLease, EdgeLeaseAnswer } from '@meshpass/identity/channel/index';
import type { Directory } from '../directory.ts';
import type { EdgeLog } from '../log.ts';
import { ControlConnection, type ControlOwner } from './connection.ts';
import { type Announced, createContents } from './contents.ts';
import { createLeaseBatches } from './lease-batches.ts';

/** How the broker is asked. */
export interface ControlBroker {
  /** Answers each lease. @throws where the broker does not answer */
  renew(leases: readonly EdgeLease[]): Promise<readonly EdgeLeaseAnswer[]>;
  /** @throws where the broker does not answer, or does not have it */
  configuration(announced: Announced): Promise<Buffer>;
  /** Has other edges tell agents that this edge is about to end their tunnels. @throws where the broker does not answer */
  draining(sessions: readonly DrainingTunnels[]): Promise<void>;
}

export interface ControlHub {
  /** Serves a connection of a live session from now on; one that the session had before is cut. */
  open(owner: ControlOwner, sessionId: string, tls: TLSSocket): void;
  /** The connection is gone. */
  left(owner: ControlOwner, sessionId: string): void;
  sweep(now: number): void;
  size(): number;
  /** Has every agent, and each that comes later, connect to another edge. */
  drain(): void;
  /** Tells agents, of those that are connected here, that an edge is about to end their tunnels. */
  tunnelsDraining(sessions: readonly DrainingTunnels[]): void;
  close(): void;
}

export interface ControlHubOptions {
  readonly broker: ControlBroker;
  readonly directory: Directory;
  readonly clock: () => number;
  readonly log: EdgeLog;
}

interface Announcement extends Announced {
  readonly statement: string;
}

/** An agent that says nothing for so long is gone, ms. */
const SILENT_MS = 180_000;
/** How long a connection waits for the notice that its session is over, ms. */
const NOTICE_MS = 2_000;
/** Sets of grants whose configuration is announced; beyond it the one that was announced first is forgotten. */
const MAX_SETS = 4_096;

export function createControlHub({ broker, directory, clock, log }: ControlHubOptions): ControlHub {
  const connections = new Map<string, ControlConnection>();
  // Those that have their notice: a client that does not close its end is not waited for.
  const ending = new Set<ControlConnection>();
  const announced = new Map<string, Announcement>();
  let draining = false;
  const failed = (what: string) => (err: unknown) => log.warn({ err }, what);
  const contents = createContents(broker.configuration, failed('no configuration from the broker'));
  const batches = createLeaseBatches(broker.renew, answer, failed('the broker does not take leases now'));
  const unlisten = directory.listen({
    closed(id) {
      const connection = connections.get(id);
      if (connection) connection.endsAt = clock() + NOTICE_MS;
      batches.remove(id);
    },
    narrowed: ({ id }) => connections.get(id)?.send({ type: 'changed' }),
    notice(id, statement) {
      const connection = connections.get(id);
      if (!connection) return;
      connections.delete(id);
      connection.endsAt = clock() + NOTICE_MS;
      ending.add(connection);
      connection.end({ type: 'statement', statement });
    },
    configuration(one) {
      announced.delete(one.set);
      announced.set(one.set, one);
      if (announced.size > MAX_SETS) announced.delete(announced.keys().next().value!);
      for (const [id, connection] of connections) {
        if (directory.byId(id)?.set === one.set) announce(connection, one);
      }
    },
    draining: tunnelsDraining,
  });
  return {
    open(owner, sessionId, tls) {
      const before = connections.get(sessionId);
      const connection = new ControlConnection({ owner, sessionId, tls }, clock, (frame) => take(connection, frame));
      connections.set(sessionId, connection);
      before?.owner.cut();
      if (draining) connection.send({ type: 'draining' });
    },
    left(owner, sessionId) {
      for (const one of ending) if (one.owner === owner) ending.delete(one);
      if (connections.get(sessionId)?.owner !== owner) return;
      connections.delete(sessionId);
      batches.remove(sessionId);
    },
    sweep(now) {
      for (const { heardAt, endsAt, readBy, owner } of [...connections.values(), ...ending]) {
        if (now >= endsAt || now >= readBy || now - heardAt > SILENT_MS) owner.cut();
      }
    },
    size: () => connections.size,
    drain() {
      draining = true;
      for (const connection of connections.values()) connection.send({ type: 'draining' });
    },
    tunnelsDraining,
    close() {
      unlisten();
      batches.close();
    },
  };

  function tunnelsDraining(sessions: readonly DrainingTunnels[]): void {
    for (const { session_id, newest_ms } of sessions) {
      connections.get(session_id)?.send({ type: 'tunnels_draining', newest_ms });
    }
  }

  function take(connection: ControlConnection, frame: AgentFrame): void {
    const { sessionId } = connection;
    if (ending.has(connection)) return;
    if (frame.type === 'lease') {
      batches.add(sessionId, frame.proof);
      return;
    }
    const configuration = announcedTo(sessionId);
    // Only what was announced to this session: what others have is not for it.
    if (configuration?.digest === frame.digest) contents.give(connection, configuration);
    else connection.send({ type: 'refused', error_code: 'configuration_unavailable' });
  }

  function answer({ session_id, statement, error_code }: EdgeLeaseAnswer): void {
    const connection = connections.get(session_id);
    if (!connection) return;
    if (statement === undefined) connection.send({ type: 'refused', error_code: error_code ?? 'internal' });
    else {
      connection.send({ type: 'statement', statement });
      // Not before: the agent learns from its lease which configuration is current, and of which grants.
      const configuration = announcedTo(session_id);
      if (configuration && configuration.digest !== connection.told) announce(connection, configuration);
    }
  }

  function announce(connection: ControlConnection, { digest, statement }: Announcement): void {
    connection.told = digest;
    connection.send({ type: 'statement', statement });
  }

  function announcedTo(sessionId: string) {
    const set = directory.byId(sessionId)?.set;
    return set === undefined ? undefined : announced.get(set);
  }
}
