/** Two edges behind a load balancer of layer 4, and an agent with its Envoy before it. */
import { connect, createServer, type Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { Edge } from '@meshpass/edge';
import { CONTROL_ALPN } from '@meshpass/identity/channel';
import { listen } from '../../packages/agent/test/harness.ts';
import { afterThisTest, surroundingsOfAgent, type World } from '../../packages/agent/test/world.ts';
import { admitted, edgeOf, type PlayedControl, playControl } from './running-agent.ts';

export interface BalancedWorld extends World {
  readonly control: PlayedControl;
  readonly edges: readonly [Edge, Edge];
  /** New connections go to these edges from now on. */
  lead(to: { readonly control: Edge; readonly tunnels: Edge }): void;
  /** Log of the agent. */
  readonly logged: readonly string[];
}

/** All connections go to the first edge at first, but for control connections, which go where `control` says. */
export async function balancedWorld(
  onConnection: (socket: TLSSocket) => void,
  controlAt: 'first' | 'second' = 'first',
): Promise<BalancedWorld> {
  const logged: string[] = [];
  const world = await surroundingsOfAgent({ onConnection, log: (event) => logged.push(event) });
  const { broker } = world;
  broker.heartbeatSeconds = 1;
  const control = playControl(broker);
  const started = [await edgeOf(world, control), await edgeOf(world, control)] as const;
  const edges = [started[0].edge, started[1].edge] as const;
  control.tell = (event) => {
    for (const { directory } of started) directory.apply(event);
  };
  broker.onSession = (id) => control.tell({ type: 'admit', session: admitted(broker, id) });
  control.announce();
  let to = { control: controlAt === 'first' ? edges[0] : edges[1], tunnels: edges[0] };
  const balancer = await startBalancer((hello) => (hello.includes(CONTROL_ALPN) ? to.control : to.tunnels));
  broker.edge = { host: 'localhost', port: balancer.port };
  afterThisTest(async () => {
    balancer.close();
    for (const { stop } of started) await stop();
  });
  const lead = (next: typeof to) => {
    to = next;
  };
  return { ...world, control, edges, lead, logged, agent: await world.start() };
}

/** @param choose selects the edge of a connection, by its ClientHello */
async function startBalancer(choose: (hello: Buffer) => Edge) {
  const sockets = new Set<Socket>();
  const keep = (socket: Socket, other: () => Socket | undefined) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => {
      sockets.delete(socket);
      other()?.destroy();
    });
  };
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (incoming) => {
    let outgoing: Socket | undefined;
    keep(incoming, () => outgoing);
    incoming.once('data', (hello: Buffer) => {
      incoming.pause();
      const { port } = choose(hello).address;
      const onward = connect({ host: '127.0.0.1', port, allowHalfOpen: true, noDelay: true });
      outgoing = onward;
      keep(onward, () => incoming);
      onward.write(hello);
      incoming.pipe(onward).pipe(incoming);
    });
  });
  const port = await listen(server as never);
  return {
    port,
    close: () => {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}
