/**
 * Manages the control connections of an edge. They carry leases to the broker and statements from the broker to agents.
 * The edge can read and withhold both, but it cannot forge them: leases are signed by sessions, and statements by the
 * broker.
 */
import type { TLSSocket } from 'node:tls';
import {
  type AgentFrame,
  type DrainingTunnels,
  type LeaseAnswer,
  type LeaseRenewal,
  MAX_LEASES,
} from '@meshpass/identity/channel';
import type { SessionDirectory } from '../directory.ts';
import type { EdgeLog } from '../log.ts';
import { createConfigurationCache } from './configuration-cache.ts';
import { type AnnouncedConfiguration, ControlConnection, type ControlOwner } from './connection.ts';

/** The requests that an edge sends to the broker. */
export interface ControlBroker {
  /**
   * Renews the given leases.
   * @returns one answer for each lease
   * @throws if the broker does not respond
   */
  renew(leases: readonly LeaseRenewal[]): Promise<readonly LeaseAnswer[]>;
  /**
   * Fetches a configuration that the broker has announced.
   * @throws if the broker does not respond, or does not have the configuration
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

/** How long an agent may be silent before it is considered gone, in milliseconds. */
const SILENT_MS = 180_000;
/** How long a connection waits for the notice that its session has ended, in milliseconds. */
const NOTICE_MS = 2_000;
/**
 * The maximum number of grant sets for which an announced configuration is remembered. If there are more, the oldest
 * announcement is dropped.
 */
const MAX_SETS = 4_096;

/** Creates the hub for control connections, which follows the session directory until it is closed. */
export function createControlHub({ broker, directory, clock, log }: ControlHubOptions) {
  const connections = new Map<string, ControlConnection>();
  // Connections whose notice has been sent. Their slot is freed even if the client never closes its end.
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
    changed: ({ id }) => connections.get(id)?.send({ type: 'changed' }),
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
    /** Serves the control connection of a live session, and cuts any previous connection of the same session. */
    open(owner: ControlOwner, sessionId: string, tls: TLSSocket) {
      const before = connections.get(sessionId);
      const connection = new ControlConnection({ owner, sessionId, tls }, clock, (frame) => take(connection, frame));
      connections.set(sessionId, connection);
      before?.owner.cut();
      if (draining) connection.send({ type: 'draining' });
    },
    /** Removes a connection that has been closed. */
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
    /** Asks all agents to use another edge, including those that connect later. */
    drain() {
      draining = true;
      for (const connection of connections.values()) connection.send({ type: 'draining' });
    },
    /** Notifies the connected agents that an edge is about to end their tunnels. */
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
    // An agent may only fetch the configuration that was announced to its session.
    if (configuration?.digest === frame.digest) void contents.give(connection, configuration);
    else connection.send({ type: 'refused', error_code: 'configuration_unavailable' });
  }

  function answer({ session_id, statement, error_code }: LeaseAnswer): void {
    const connection = connections.get(session_id);
    if (!connection) return;
    if (statement === undefined) connection.send({ type: 'refused', error_code: error_code ?? 'internal' });
    else {
      connection.send({ type: 'statement', statement });
      // The announcement is not sent any earlier, because the lease contains the current version and its grants.
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

/** How long a lease may wait for others to join its batch, in milliseconds. */
const GATHER_MS = 250;
/** The maximum number of concurrent requests to the broker. */
const AT_ONCE = 4;

/**
 * Creates the lease batches, which are sent to the broker a few times a second. Each batch contains only the newest
 * lease of a session.
 * @param renew sends a batch to the broker
 * @param answered called with the answer to each lease. If a request fails, it is called for every lease of that
 *   request
 */
function createLeaseBatches(
  renew: (leases: readonly LeaseRenewal[]) => Promise<readonly LeaseAnswer[]>,
  answered: (answer: LeaseAnswer) => void,
  onFailure: (cause: unknown) => void,
) {
  const waiting = new Map<string, string>();
  let underWay = 0;
  let timer: NodeJS.Timeout | undefined;
  return {
    add(sessionId: string, proof: string) {
      waiting.set(sessionId, proof);
      timer ??= setTimeout(flush, GATHER_MS).unref();
    },
    /** Drops a session's lease if it has not been sent yet. */
    remove: (sessionId: string) => waiting.delete(sessionId),
    close: () => clearTimeout(timer),
  };

  function flush(): void {
    timer = undefined;
    while (waiting.size > 0 && underWay < AT_ONCE) {
      const batch: LeaseRenewal[] = [];
      for (const [session_id, proof] of waiting) {
        waiting.delete(session_id);
        batch.push({ session_id, proof });
        if (batch.length === MAX_LEASES) break;
      }
      underWay++;
      void bring(batch).finally(() => {
        underWay--;
        if (waiting.size > 0) timer ??= setTimeout(flush, 0).unref();
      });
    }
  }

  async function bring(batch: readonly LeaseRenewal[]): Promise<void> {
    try {
      for (const answer of await renew(batch)) answered(answer);
    } catch (cause) {
      onFailure(cause);
      for (const { session_id } of batch) answered({ session_id, error_code: 'agent_broker_unreachable' });
    }
  }
}
