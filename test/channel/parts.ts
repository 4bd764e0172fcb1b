/** A broker and its edges in this process, and agents' channels between them. */

import { createSecureContext } from 'node:tls';
import { type Channel, type ChannelEvent, type ChannelOptions, openChannel } from '@meshpass/agent/channel/channel';
import { createStatementVerifier } from '@meshpass/agent/statements/statement-verifier';
import type { ConfigurationSource } from '@meshpass/broker/core/channel/configurations';
import type { Verdict } from '@meshpass/cli/drill/attempt';
import { renewViaEdge } from '@meshpass/cli/drill/session';
import { type ControlBroker, createSessionDirectory, type Edge, followFeed, startEdge } from '@meshpass/edge';
import { grantSet } from '@meshpass/identity/channel';
import { type Enrolled, type Harness, session, startHarness } from '../../packages/broker/test/harness/broker.ts';
import { grant } from '../../packages/broker/test/harness/mesh.ts';
import { type Ca, createCa, svid } from '../../packages/edge/test/mesh-ca.ts';

export const HEARTBEAT_MS = 1_500;
export const SILENT_MS = 4_000;

/** Configurations as a test sets them. */
export interface PlayedConfigurations extends ConfigurationSource {
  set(grants: readonly string[], version: number, content: string): void;
}

export interface Parts {
  readonly harness: Harness;
  readonly configurations: PlayedConfigurations;
  /** Starts an edge that the broker feeds. `lie` changes its requests to the broker. */
  edge(lie?: (honest: ControlBroker) => ControlBroker): Promise<Edge>;
  agent(
    subject: string,
    edges: readonly Edge[],
    more?: Partial<ChannelOptions> & { readonly hasSvid?: boolean },
  ): Promise<Agent>;
  /** Closes all edges and channels. */
  endEdges(): Promise<void>;
  close(): Promise<void>;
}

export interface Agent {
  readonly session: Enrolled;
  readonly events: ChannelEvent[];
  /** Messages of these types, in order of arrival. */
  of<T extends ChannelEvent['type']>(type: T): Extract<ChannelEvent, { type: T }>[];
  /** Whether it has a valid SVID. */
  hasSvid: boolean;
  renew(): void;
  /** Another channel of the same session. */
  twin(): Channel;
  /** Renews the lease as `meshpass drill` does. */
  renewInDrill(): Promise<Verdict>;
  close(): Promise<void>;
}

export async function startParts(): Promise<Parts> {
  const configurations = playConfigurations();
  const harness = await startHarness({ parts: () => ({ configurations }) });
  harness.mesh.setAccess([grant('dev'), grant('ops', ['idp:ops'])]);
  const [mesh, web] = await Promise.all([createCa('mesh'), createCa('web')]);
  const closing: (() => unknown)[] = [];
  return {
    harness,
    configurations,
    async edge(lie = (honest) => honest) {
      const directory = createSessionDirectory({ clock: Date.now });
      // The mesh of the broker's tests has no CA of its own.
      const stop = followFeed(
        (listener) =>
          harness.broker.feed.subscribe(
            (event) => listener('roots' in event ? { ...event, roots: [mesh.root] } : event),
            { control: true, draining: true },
          ),
        directory,
      );
      const honest: ControlBroker = {
        renew: (leases) => harness.broker.control.renew(leases, 'edge'),
        configuration: async ({ set, digest }) => {
          const content = harness.broker.control.configuration(set, digest);
          if (!content) throw new Error('not announced');
          return content;
        },
        draining: async (sessions) => harness.broker.feed.draining(sessions),
      };
      const edge = await startEdge({
        listen: { host: '127.0.0.1', port: 0 },
        tls: await web.issue({ san: [{ type: 'dns', value: 'localhost' }] }),
        gateway: { host: '127.0.0.1', port: 9 },
        directory,
        report: () => {},
        control: lie(honest),
      });
      closing.push(async () => {
        stop();
        await edge.close();
        directory.close();
      });
      return edge;
    },
    async agent(subject, edges, more = {}) {
      const enrolled = await session(harness, subject);
      const agent = await openAgent(harness, { enrolled, mesh, web, edges }, more);
      closing.push(agent.close);
      return agent;
    },
    async endEdges() {
      for (const close of closing.splice(0).reverse()) await close();
    },
    close: () => harness.stop(),
  };
}

async function openAgent(
  harness: Harness,
  { enrolled, mesh, web, edges }: { enrolled: Enrolled; mesh: Ca; web: Ca; edges: readonly Edge[] },
  { hasSvid = true, ...more }: Partial<ChannelOptions> & { readonly hasSvid?: boolean },
): Promise<Agent> {
  const { id } = enrolled.session;
  let principal: string | undefined;
  harness.broker.feed.subscribe((event) => {
    if (event.type !== 'snapshot') return;
    principal = event.sessions.find((one) => one.id === id)?.principals[0]?.spiffe_id;
  })();
  const { cert, key } = await svid(mesh, principal!);
  const events: ChannelEvent[] = [];
  const agent = { session: enrolled, events, hasSvid } as {
    -readonly [K in keyof Agent]: Agent[K];
  };
  let connections = 0;
  const options: ChannelOptions = {
    // A load balancer leads each connection to the next edge.
    edge: () => ({ host: 'localhost', port: edges[connections++ % edges.length]!.address.port }),
    secureContext: () => (agent.hasSvid ? createSecureContext({ cert, key, ca: web.root }) : undefined),
    sessionId: id,
    key: enrolled.key,
    received: createStatementVerifier({ sessionId: id, keys: () => enrolled.mesh.statement_keys }),
    heartbeatMs: HEARTBEAT_MS,
    silentMs: SILENT_MS,
    onEvent: (event) => events.push(event),
    clock: () => Date.now() + harness.clockAhead,
    ...more,
  };
  const channel = openChannel(options);
  agent.twin = () => openChannel(options);
  agent.renewInDrill = () => {
    const svids = new Map([['dev', { privateKey: key, chain: cert }]]);
    const mesh = { ...enrolled.mesh, edge: options.edge() };
    return renewViaEdge({ ca: web.root, key: enrolled.key, svids, mesh, session: enrolled.session });
  };
  agent.of = (type) => events.filter((event) => event.type === type) as never;
  agent.renew = channel.renew;
  agent.close = channel.close;
  return agent;
}

function playConfigurations(): PlayedConfigurations {
  const held = new Map<string, { version: number; body: Buffer }>();
  const listeners = new Set<() => void>();
  const playing: PlayedConfigurations = {
    current: (session) => held.get(grantSet(session.principals.map(({ grant }) => grant))),
    onChange: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    set(grants, version, content) {
      held.set(grantSet(grants), { version, body: Buffer.from(content) });
      for (const listener of listeners) listener();
    },
  };
  return playing;
}
