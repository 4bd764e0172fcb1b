/**
 * Many light workspaces in one process on a host of the lab: a JSON order a line on standard input, a JSON report a line on
 * standard output. In the end it misuses the credentials of every ended session.
 */
import { createInterface } from 'node:readline';
import { BrokerClient } from '@meshpass/agent/session/broker-client';
import { obtainSvids } from '@meshpass/agent/session/enrol';
import { openTunnel } from '@meshpass/cli/drill/tunnel';
import { MeshpassError } from '@meshpass/identity';
import { askForLease, type Failure, join, type Kept, type Member } from './member.ts';

export type Order =
  | { readonly do: 'begin'; readonly broker: string; readonly ca: string; readonly pace: number }
  | { readonly do: 'join'; readonly as: string; readonly token: string; readonly codespace: string }
  | { readonly do: 'leave'; readonly as: string; readonly how: 'goodbye' | 'vanish' }
  | { readonly do: 'report' }
  | { readonly do: 'holds'; readonly session: string }
  /** Uses the session's former credentials, at broker and edge. */
  | { readonly do: 'misuse'; readonly session: string }
  /** Credentials that an insider of the cluster could misuse. */
  | { readonly do: 'steal'; readonly session: string };

export interface Report {
  /** Present members and the session that each has now. */
  readonly members: Readonly<Record<string, string>>;
  readonly sessions: Readonly<Record<string, { readonly calls: number; readonly failures: readonly Failure[] }>>;
  /** Failures of calls and renewals: source and code, and how often. */
  readonly refusals: Readonly<Record<string, number>>;
}

/** Result of each credential: the code of its refusal, or `TAKEN`. */
export type Misused = Readonly<Record<'heartbeat' | 'token' | 'certificate' | 'edge', string>>;
export const TAKEN = 'TAKEN';

export interface Stolen {
  /** `notAfter` in Unix ms. */
  readonly svids: Readonly<Record<string, { privateKey: string; chain: string; spiffeId: string; notAfter: number }>>;
  readonly roots: readonly string[];
  readonly identityToken: string;
}

const members = new Map<string, Member>();
const sessions = new Map<string, Kept>();
const refusals: Record<string, number> = {};
const refused = (what: string) => {
  refusals[what] = (refusals[what] ?? 0) + 1;
};
let world: Extract<Order, { do: 'begin' }>;

for await (const line of createInterface({ input: process.stdin })) {
  const { id, order } = JSON.parse(line) as { id: number; order: Order };
  obey(order).then(
    (result) => console.log(JSON.stringify({ id, result: result ?? null })),
    (error: Error) =>
      console.log(JSON.stringify({ id, error: `${(error as MeshpassError).code ?? ''} ${error.message}` })),
  );
}

async function obey(order: Order): Promise<unknown> {
  switch (order.do) {
    case 'begin':
      world = order;
      return;
    case 'join': {
      const proof = { type: 'github-codespace', token: order.token, codespaceName: order.codespace } as const;
      const member = await join({ ...world, proof, sessions, refused });
      members.set(order.as, member);
      return member.session();
    }
    case 'leave': {
      const member = members.get(order.as);
      members.delete(order.as);
      if (order.how === 'vanish') member?.vanish();
      else await member?.goodbye();
      return;
    }
    case 'report':
      return {
        members: Object.fromEntries([...members].map(([as, member]) => [as, member.session()])),
        sessions: Object.fromEntries([...sessions].map(([id, { calls, failures }]) => [id, { calls, failures }])),
        refusals,
      } satisfies Report;
    case 'holds':
      return sessions.has(order.session);
    case 'misuse':
      return await misuse(sessions.get(order.session)!);
    case 'steal':
      return steal(sessions.get(order.session)!);
  }
}

async function misuse({ key, credentials }: Kept): Promise<Misused> {
  const client = new BrokerClient({ url: world.broker, key, ca: world.ca, now: Date.now });
  const { accessToken, session, mesh, services, svids } = credentials;
  const [service] = services;
  const edge = async () => {
    const target = `${service!.host}:${service!.port}`;
    const order = { target, grant: service!.grant, edge: mesh.edge };
    const opened = await openTunnel({ ca: world.ca, mesh, svids }, order);
    // Credentials that expired by themselves would prove nothing.
    if (svids.get(service!.grant)!.expiresAt < Date.now()) return 'socket' in opened ? TAKEN : 'expired';
    if ('socket' in opened) {
      opened.end();
      return TAKEN;
    }
    return opened.stage === 'edge' ? (opened.edgeCode ?? opened.error ?? '') : TAKEN;
  };
  const lease = async () => {
    const statement = await askForLease(client, credentials, key);
    if (statement.kind === 'ended') throw new MeshpassError('session_closed', statement.reason);
  };
  try {
    return {
      heartbeat: await codeOf(lease()),
      token: await codeOf(client.token(accessToken)),
      certificate: await codeOf(obtainSvids(client, accessToken, session.grants, Date.now)),
      edge: await edge(),
    };
  } finally {
    client.close();
  }
}

function steal({ credentials }: Pick<Kept, 'credentials'>): Stolen {
  const { svids, mesh, identityToken } = credentials;
  const entries = [...svids].map(([grant, { privateKey, chain, spiffeId, expiresAt: notAfter }]) => {
    return [grant, { privateKey, chain, spiffeId, notAfter }];
  });
  return { svids: Object.fromEntries(entries), roots: mesh.roots, identityToken: identityToken.value };
}

async function codeOf(use: Promise<unknown>): Promise<string> {
  return await use.then(
    () => TAKEN,
    (thrown) => (thrown instanceof MeshpassError ? thrown.code : String(thrown)),
  );
}
