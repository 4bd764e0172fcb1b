/** A running agent with its Envoy, an edge with control connections before it, and the broker's word as a test wants it. */
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { type ControlBroker, createDirectory, type Directory, type Edge, startEdge } from '@meshpass/edge';
import type { EdgeEvent } from '@meshpass/identity';
import {
  type EdgeLease,
  type EdgeLeaseAnswer,
  grantSet,
  readLeaseProof,
  type Statement,
  signStatement,
} from '@meshpass/identity/channel/index';
import { dpopKey, dpopThumbprint } from '@meshpass/identity/dpop';
import { sha256Base64url } from '@meshpass/identity/hash';
import { principalOf, type TestBroker } from '../../packages/agent/test/test-broker.ts';
import { afterThisTest, surroundingsOfAgent, type World } from '../../packages/agent/test/world.ts';

export interface ChannelWorld extends World {
  readonly control: PlayedControl;
  /** Starts the edge where it was, with this between it and the broker. */
  startEdge(lie?: (honest: ControlBroker) => ControlBroker): Promise<Edge>;
  stopEdge(): Promise<void>;
}

/** What the broker says by edges. */
export interface PlayedControl extends ControlBroker {
  /** Leases that were renewed. */
  renewed: number;
  /** Signs with another key from now on, which it gives out over HTTPS. */
  rotate(): void;
  /** Ends a session, and says so. */
  end(sessionId: string, cause: string): void;
  /** Says that the configuration of the broker is another one. */
  announce(): void;
  /** Where it says so; set by the edge. */
  tell: (event: EdgeEvent) => void;
}

export interface ChannelWorldOptions {
  /** What is between the first edge and the broker. */
  readonly lie?: (honest: ControlBroker) => ControlBroker;
  /** Seconds by which the broker's clock is ahead of the workspace's. */
  readonly skew?: number;
  /** The agent asks over HTTPS after one and a half of them without a lease: also on a machine that stalls for as long. */
  readonly heartbeatSeconds?: number;
}

export async function channelWorld(options: ChannelWorldOptions = {}): Promise<ChannelWorld> {
  const { lie, skew = 0, heartbeatSeconds = 1 } = options;
  const world = await surroundingsOfAgent();
  const { broker } = world;
  broker.heartbeatSeconds = heartbeatSeconds;
  broker.skew = skew;
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
  /** Who is live, as the test says; it has the roots of the mesh, and no session. */
  readonly directory: Directory;
  stop(): Promise<void>;
}

/** An edge before the workload. @param port 0 for any */
export async function edgeOf(
  { workload, authorities }: Pick<World, 'workload' | 'authorities'>,
  control: ControlBroker,
  port = 0,
): Promise<StartedEdge> {
  const directory = createDirectory({ clock: Date.now });
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

/** A session as the broker tells edges of it. */
export function admitted(broker: TestBroker, id: string) {
  return {
    ...{ id, subject: 'github:583231', expires_at: Math.floor(Date.now() / 1000) + 3600 },
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
  let key: { kid: string; privateKey: KeyObject };
  let keys = 0;
  const sign = (statement: Statement) => signStatement(statement, key);
  const announcement = () => {
    const content = Buffer.from(JSON.stringify(broker.configuration()));
    return { set: setOf(broker), digest: sha256Base64url(content), content };
  };
  const renew = ({ session_id: sid, proof }: EdgeLease): EdgeLeaseAnswer => {
    const read = readLeaseProof(proof);
    const session = [...broker.sessions.values()].find(({ id }) => id === sid);
    if (!session || !read || dpopThumbprint(read.jwk) !== session.jkt)
      return { session_id: sid, error_code: 'session_unknown' };
    const at = Date.now() + broker.skew * 1000;
    const now = Math.floor(at / 1000);
    // As the broker does: a lease is 45 seconds.
    if (read.claims.at > at + 5_000 || read.claims.at < at - 45_000)
      return { session_id: sid, error_code: 'dpop_expired' };
    control.renewed++;
    const statement = sign({
      ...{
        kind: 'lease',
        sid,
        seq: read.claims.seq,
        at,
        lease_expires_at: now + 45,
        expires_at: now + 3600,
      },
      ...{ services_version: broker.servicesVersion, set: setOf(broker) },
      configuration_version: broker.configurationVersion,
    });
    return { session_id: sid, statement };
  };
  const control: PlayedControl = {
    renewed: 0,
    tell: () => {},
    renew: async (leases) => leases.map(renew),
    configuration: async () => announcement().content,
    draining: async (sessions) => control.tell({ type: 'draining', sessions: [...sessions] }),
    rotate() {
      const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
      key = { kid: `key-${++keys}`, privateKey };
      broker.statementKeys = [{ ...dpopKey(privateKey).jwk, kid: key.kid }];
    },
    end(sessionId, cause) {
      for (const [token, { id }] of broker.sessions) if (id === sessionId) broker.sessions.delete(token);
      control.tell({ type: 'close', id: sessionId, reason: cause });
      const statement = sign({ kind: 'ended', sid: sessionId, cause, reason: 'a test closed it' });
      control.tell({ type: 'notice', id: sessionId, statement });
    },
    announce() {
      const { set, digest, content } = announcement();
      const version = broker.configurationVersion;
      const statement = sign({ kind: 'configuration', set, version, digest, size: content.length });
      control.tell({ type: 'configuration', set, digest, statement });
    },
  };
  control.rotate();
  return control;
}
