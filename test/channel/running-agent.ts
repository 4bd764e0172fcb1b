/** A running agent with its Envoy, an edge with control connections before it, and a broker whose answers the test sets. */
import {
  type ControlBroker,
  createSessionDirectory,
  type Edge,
  type SessionDirectory,
  startEdge,
} from '@meshpass/edge';
import {
  type EdgeEvent,
  grantSet,
  type LeaseAnswer,
  type LeaseRenewal,
  type Statement,
  signStatement,
} from '@meshpass/identity/channel';
import { principalOf, type TestBroker } from '../../packages/agent/test/test-broker.ts';
import { afterThisTest, surroundingsOfAgent, type World } from '../../packages/agent/test/world.ts';

export interface ChannelWorld extends World {
  readonly control: PlayedControl;
  /** Restarts the edge at its address, with this between it and the broker. */
  startEdge(lie?: (honest: ControlBroker) => ControlBroker): Promise<Edge>;
  stopEdge(): Promise<void>;
}

/** Statements of the broker, sent through edges. */
export interface PlayedControl extends ControlBroker {
  /** Leases that were renewed. */
  renewed: number;
  /** Signs with another key from now on, which it gives out over HTTPS. */
  rotate(): void;
  /** The broker gives out another key over HTTPS; what edges bring is of the key before, as from its thief. */
  steal(): void;
  /** Announces that a session has ended, although it continues. */
  lieAboutEnd(sessionId: string): void;
  /** Ends a session, and announces the end. */
  end(sessionId: string, cause: string): void;
  /** Says that the configuration of the broker is another one. */
  announce(): void;
  /** Sends the announcement; set by the edge. */
  tell: (event: EdgeEvent) => void;
}

export interface ChannelWorldOptions {
  /** Component between the first edge and the broker. */
  readonly lie?: (honest: ControlBroker) => ControlBroker;
  /** Seconds by which the broker's clock is ahead of the workspace's. */
  readonly skew?: number;
  /** The agent asks over HTTPS after one and a half of them without a lease: also on a machine that stalls for as long. */
  readonly heartbeatSeconds?: number;
  readonly tokenLifetime?: number;
}

export async function channelWorld(options: ChannelWorldOptions = {}): Promise<ChannelWorld> {
  const { lie, skew = 0, heartbeatSeconds = 1, tokenLifetime } = options;
  const world = await surroundingsOfAgent();
  const { broker } = world;
  broker.heartbeatSeconds = heartbeatSeconds;
  broker.skew = skew;
  if (tokenLifetime !== undefined) broker.tokenLifetime = tokenLifetime;
  const control = playControl(broker);
  let running: { edge: Edge; stop(): Promise<void> } | undefined;
  let port = 0;
  const start = async (between: (honest: ControlBroker) => ControlBroker = (honest) => honest) => {
    const started = await edgeOf(world, between(control), port);
    const { edge, directory } = started;
    port = edge.address.port;
    broker.edge = { host: 'localhost', port };
    control.tell = directory.apply;
    for (const { id } of broker.sessions.values()) broker.onSession(id);
    control.announce();
    const stop = async () => {
      control.tell = () => {};
      await started.stop();
    };
    running = { edge, stop };
    return edge;
  };
  const stopEdge = async () => {
    await running?.stop();
    running = undefined;
  };
  broker.onSession = (id) => control.tell({ type: 'admit', session: admitted(broker, id) });
  await start(lie);
  afterThisTest(stopEdge);
  return { ...world, control, startEdge: start, stopEdge, agent: await world.start() };
}

export interface StartedEdge {
  readonly edge: Edge;
  /** Live sessions, set by the test; it has the roots of the mesh, and no session. */
  readonly directory: SessionDirectory;
  stop(): Promise<void>;
}

/** An edge before the workload. @param port 0 for any */
export async function edgeOf(
  { workload, authorities }: Pick<World, 'workload' | 'authorities'>,
  control: ControlBroker,
  port = 0,
): Promise<StartedEdge> {
  const directory = createSessionDirectory({ clock: Date.now });
  directory.apply({ type: 'snapshot', sessions: [], roots: [authorities.mesh.root] });
  const edge = await startEdge({
    listen: { host: '127.0.0.1', port },
    tls: await authorities.public.issue('localhost'),
    gateway: { host: '127.0.0.1', port: workload.port },
    directory,
    report: () => {},
    control,
  });
  const stop = async () => {
    await edge.close();
    directory.close();
  };
  return { edge, directory, stop };
}

/** How often the agent has asked for this over HTTPS. */
export function asked(broker: TestBroker, call: string): number {
  return broker.calls.filter((one) => one === call).length;
}

/** A session as the broker announces it to edges. */
export function admitted(broker: TestBroker, id: string) {
  return {
    id,
    expires_at: Math.floor(Date.now() / 1000) + 3600,
    set: setOf(broker),
    principals: [...new Set(broker.services.map(({ grant }) => grant))].map((grant) => ({
      spiffe_id: principalOf(grant, id),
      targets: broker.services.filter((one) => one.grant === grant).map(({ host, port }) => ({ host, port })),
    })),
  };
}

function setOf(broker: TestBroker): string {
  return grantSet([...new Set(broker.services.map(({ grant }) => grant))]);
}

export function playControl(broker: TestBroker): PlayedControl {
  /** Key of the statements that edges bring. */
  let key = broker.statementKey;
  const sign = (statement: Statement) => signStatement(statement, key);
  const renew = (lease: LeaseRenewal): LeaseAnswer => {
    const answer = broker.renew(lease, key);
    if (answer.statement !== undefined) control.renewed++;
    return answer;
  };
  const control: PlayedControl = {
    renewed: 0,
    tell: () => {},
    renew: async (leases) => leases.map(renew),
    configuration: async () => broker.announcement(key).content,
    draining: async (sessions) => control.tell({ type: 'draining', sessions: [...sessions] }),
    rotate() {
      broker.rotateStatementKey();
      key = broker.statementKey;
    },
    steal: () => broker.rotateStatementKey(),
    lieAboutEnd(sid) {
      const statement = sign({ kind: 'ended', sid, cause: 'operator', reason: 'a thief says so' });
      control.tell({ type: 'notice', id: sid, statement });
    },
    end(sessionId, cause) {
      for (const [token, { id }] of broker.sessions) if (id === sessionId) broker.sessions.delete(token);
      control.tell({ type: 'close', id: sessionId, reason: cause });
      const statement = sign({ kind: 'ended', sid: sessionId, cause, reason: 'a test closed it' });
      control.tell({ type: 'notice', id: sessionId, statement });
    },
    announce() {
      const { set, digest, statement } = broker.announcement(key);
      control.tell({ type: 'configuration', set, digest, statement });
    },
  };
  return control;
}
