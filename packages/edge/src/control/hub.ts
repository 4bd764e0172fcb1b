/**
 * Control connections of an edge. They carry leases to the broker, and statements from the broker to agents. The edge
 * can read and withhold both but cannot forge them, because sessions sign leases and the broker signs statements.
 */
import type { TLSSocket } from 'node:tls';
import type { AgentFrame, DrainingTunnels, LeaseAnswer, LeaseRenewal } from '@meshpass/identity/channel/index';
import type { SessionDirectory } from '../directory.ts';
import type { EdgeLog } from '../log.ts';
import { createConfigurationCache } from './configuration-cache.ts';
import { type AnnouncedConfiguration, ControlConnection, type ControlOwner } from './connection.ts';
import { createLeaseBatches } from './lease-batches.ts';

/** Requests that the edge sends to the broker. */
export interface ControlBroker {
  /**
   * Renews leases.
   * @returns one answer per lease
   * @throws if the broker does not respond
   */
  renew(leases: readonly LeaseRenewal[]): Promise<readonly LeaseAnswer[]>;
  /**
   * Fetches an announced configuration.
   * @throws if the broker does not respond or does not have the configuration
   */
  configuration(announced: AnnouncedConfiguration): Promise<Buffer>;
  /**
   * Asks other edges to notify agents that this edge is about to end their tunnels.
   * @throws if the broker does not respond
   */
  draining(sessions: readonly DrainingTunnels[]): Promise<void>;
}

export type ControlHub = ReturnType<typeof createControlHub>;

export interface ControlHubOptions {
  readonly broker: ControlBroker;
  readonly directory: SessionDirectory;
  readonly clock: () => number;
  readonly log: EdgeLog;
}

interface Announcement extends AnnouncedConfiguration {
  readonly statement: string;
}

/** Milliseconds without a frame after which an agent counts as gone. */
const SILENT_MS = 180_000;
/** Milliseconds for which a connection waits for the notice that its session has ended. */
const NOTICE_MS = 2_000;
/**
 * Maximum number of grant sets with an announced configuration. The oldest announcement is dropped when it is exceeded.
 */
const MAX_SETS = 4_096;

/** Creates the hub, which follows the directory until it is closed. */
export function createControlHub({ broker, directory, clock, log }: ControlHubOptions) {
  const connections = new Map<string, ControlConnection>();
  // Connections that have received their notice. Their slot is freed even if the client never closes its end.
  const ending = new Set<ControlConnection>();
  const announced = new Map<string, Announcement>();
  let draining = false;
  const failed = (what: string) => (err: unknown) => log.warn({ err }, what);
  const contents = createConfigurationCache(broker.configuration, failed('the broker did not send a configuration'));
  const batches = createLeaseBatches(broker.renew, answer, failed('the broker is not accepting leases'));
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
    /** Serves the connection of a live session. Cuts the session's previous connection. */
    open(owner: ControlOwner, sessionId: string, tls: TLSSocket) {
      const before = connections.get(sessionId);
      const connection = new ControlConnection({ owner, sessionId, tls }, clock, (frame) => take(connection, frame));
      connections.set(sessionId, connection);
      before?.owner.cut();
      if (draining) connection.send({ type: 'draining' });
    },
    /** Removes a closed connection. */
    left(owner: ControlOwner, sessionId: string) {
      for (const one of ending) if (one.owner === owner) ending.delete(one);
      if (connections.get(sessionId)?.owner !== owner) return;
      connections.delete(sessionId);
      batches.remove(sessionId);
    },
    sweep(now: number) {
      for (const { heardAt, endsAt, readBy, owner } of [...connections.values(), ...ending]) {
        if (now >= endsAt || now >= readBy || now - heardAt > SILENT_MS) owner.cut();
      }
    },
    size: () => connections.size,
    /** Asks all connected agents, and those that connect later, to use another edge. */
    drain() {
      draining = true;
      for (const connection of connections.values()) connection.send({ type: 'draining' });
    },
    /** Notifies connected agents that an edge is about to end their tunnels. */
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
    // An agent may fetch only the configuration that was announced to its session.
    if (configuration?.digest === frame.digest) void contents.give(connection, configuration);
    else connection.send({ type: 'refused', error_code: 'configuration_unavailable' });
  }

  function answer({ session_id, statement, error_code }: LeaseAnswer): void {
    const connection = connections.get(session_id);
    if (!connection) return;
    if (statement === undefined) connection.send({ type: 'refused', error_code: error_code ?? 'internal' });
    else {
      connection.send({ type: 'statement', statement });
      // The announcement is not sent earlier, because the lease is what contains the current version and its grants.
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
