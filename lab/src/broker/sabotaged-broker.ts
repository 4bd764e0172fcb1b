/**
 * `node lab/src/broker/sabotaged-broker.ts STEP serve FLAGS...`: a broker that LETS ENDED SESSIONS GO ON, because one step of
 * their end is sabotaged. It shows that a drill can fail (docs/drill.md). The product has no code for it: this file composes
 * `meshpass serve` of other parts.
 */

import { createLiveIndex, type Live, type LiveIndex } from '@meshpass/broker/core/session/live';
import { type ConnectedMesh, connectMesh } from '@meshpass/broker/mesh/reconcile/connect-mesh';
import { createRevoker } from '@meshpass/broker/mesh/reconcile/revocation/revoker';
import { type Broker, serveBroker } from '@meshpass/broker/start/serve';
import type { Command } from '@meshpass/cli/command/define';
import { command as serve } from '@meshpass/cli/commands/serve';
import { run, TREE } from '@meshpass/cli/program';
import type { ServeOptions } from '@meshpass/cli/serve/flags';
import { type Composition, startBroker } from '@meshpass/cli/serve/start-broker';

type MakeRevoker = NonNullable<Parameters<typeof connectMesh>[1]['makeRevoker']>;
type Parts = Parameters<typeof serveBroker>[1];

interface Sabotage {
  readonly makeRevoker?: MakeRevoker;
  readonly live?: () => LiveIndex;
  readonly broker?: (broker: Broker) => Broker;
}

const SABOTAGE: Readonly<Record<string, Sabotage>> = {
  /** The edge gets no event when a session ends. */
  edges: { broker: withoutCloseEvents },
  /** The broker continues to serve the token and renew the lease of an ended session, and signs certificates for it. */
  renewal: { live: undeadSessions, makeRevoker: (options) => ({ ...createRevoker(options), isRevoked: () => false }) },
  /** Ended principals and tokens are not denied in the mesh. */
  deny: {
    makeRevoker: (options) =>
      createRevoker({ ...options, kubernetes: { ...options.kubernetes, apply: async () => undefined } }),
  },
  /** ServiceAccounts of ended sessions are not deleted. */
  serviceaccount: {
    makeRevoker: (options) =>
      createRevoker({ ...options, kubernetes: { ...options.kubernetes, deleteServiceAccount: async () => undefined } }),
  },
};

const [step = '', ...argv] = process.argv.slice(2);
const sabotage = SABOTAGE[step];
if (!sabotage)
  throw new Error(`The step to sabotage must be one of ${Object.keys(SABOTAGE).join(', ')}, not "${step}".`);

const composition: Composition = {
  connectMesh: (config, parts): Promise<ConnectedMesh> =>
    connectMesh(config, { ...parts, ...(sabotage.makeRevoker && { makeRevoker: sabotage.makeRevoker }) }),
  serveBroker: async (config, parts: Parts) => {
    const broker = await serveBroker(config, { ...parts, ...(sabotage.live && { live: sabotage.live() }) });
    return sabotage.broker?.(broker) ?? broker;
  },
};

console.error(`LAB ONLY: ended sessions continue, because a step of their end is sabotaged: ${step}`);
const command: Command = { ...serve, run: (options: ServeOptions) => startBroker(options, composition) };
const load = async () => ({ command });
const tree = { ...TREE, children: { ...TREE.children, serve: { summary: 'Run a sabotaged broker.', load } } };
process.exitCode = await run(['node', 'meshpass', ...argv], tree);

function withoutCloseEvents(broker: Broker): Broker {
  const subscribe: Broker['feed']['subscribe'] = (listener) =>
    broker.feed.subscribe((event) => {
      if (event.type !== 'close') listener(event);
    });
  return { ...broker, feed: { ...broker.feed, subscribe } };
}

function undeadSessions(): LiveIndex {
  const index = createLiveIndex();
  const undead = new Map<string, Live>();
  return {
    ...index,
    byToken: (hash) => index.byToken(hash) ?? undead.get(hash),
    byId: (id) => index.byId(id) ?? [...undead.values()].find(({ session }) => session.id === id),
    remove: (live) => {
      index.remove(live);
      const { ended: _, ...session } = live;
      const leaseUntil = Number.MAX_SAFE_INTEGER;
      undead.set(live.session.tokenHash, { ...session, leaseUntil, abort: new AbortController() });
    },
  };
}
