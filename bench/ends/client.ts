/**
 * The workspaces of bench/ends/bench.ts, as a process on a host of the lab: a JSON order a line on standard input, a JSON report a line
 * on standard output. It holds sessions with their connections as the drill does, keeps their leases, and tells the instant
 * (Unix ms) at which each connection died.
 */
import { createInterface } from 'node:readline';
import type { Svid } from '@meshpass/agent/session/enrol';
import { type Caller, probeEdge } from '@meshpass/cli/drill/call';
import { type FailedConnection, type HeldConnection, holdConnections } from '@meshpass/cli/drill/hold-open';
import { type DrillSession, openDrillSession, renewalVerdict } from '@meshpass/cli/drill/session';
import { chooseTargets, type Target } from '@meshpass/cli/drill/targets';
import { MeshpassError } from '@meshpass/identity';

export interface Proof {
  readonly token: string;
  readonly name: string;
}
/** Credentials that a thief could copy: everything except the key, which never leaves the process. */
export interface Copied extends Pick<DrillSession, 'mesh' | 'services' | 'identityToken'> {
  readonly svids: readonly (readonly [string, Svid])[];
}
export const KINDS = ['new connection', 'keep-alive HTTP', 'open HTTP/2 stream', 'open TCP'] as const;
export type Kind = (typeof KINDS)[number];
/** Unix ms at which each kind was dead; null: not within the limit. */
export type Deaths = Readonly<Record<Kind, number | null>>;

export type Order =
  | {
      readonly do: 'open';
      readonly as: string;
      readonly broker: string;
      readonly proof: Proof;
      readonly heartbeatMs: number;
    }
  /** Takes over what another process holds, without its key: it can use it, and not keep it alive. */
  | { readonly do: 'take'; readonly as: string; readonly copied: Copied }
  | { readonly do: 'copy'; readonly as: string }
  | { readonly do: 'hold'; readonly as: string; readonly grant: string }
  /** Answers when everything is dead. */
  | { readonly do: 'watch'; readonly as: string; readonly limitMs: number }
  /** Both answer with the instant of the cause. */
  | { readonly do: 'goodbye'; readonly as: string }
  | { readonly do: 'rebuild'; readonly as: string; readonly proof: Proof };

interface Held {
  readonly caller: Caller & Pick<DrillSession, 'services'>;
  /** Absent for a copy. */
  readonly own?: DrillSession;
  readonly broker?: string;
  readonly beating?: NodeJS.Timeout;
  target?: Target | undefined;
  open?: readonly (HeldConnection | FailedConnection)[];
}

const PROBE_PAUSE_MS = 10;
const PATIENCE = { limit: 20_000, between: () => new Promise((resolve) => setTimeout(resolve, 100)) };
const held = new Map<string, Held>();
const instant = () => performance.timeOrigin + performance.now();

for await (const line of createInterface({ input: process.stdin })) {
  const { id, order } = JSON.parse(line) as { id: number; order: Order };
  obey(order).then(
    (result) => console.log(JSON.stringify({ id, result })),
    (error: Error) => console.log(JSON.stringify({ id, error: toldAs(error) })),
  );
}

function toldAs(error: Error): string {
  return error instanceof MeshpassError ? `${error.code}: ${error.message}` : error.message;
}

async function obey(order: Order): Promise<unknown> {
  if (order.do === 'open') {
    const { broker } = order;
    const own = await openSession(broker, order.proof);
    const beating = setInterval(() => void renewalVerdict(own), order.heartbeatMs);
    held.set(order.as, { caller: own, own, broker, beating });
    return own.session;
  }
  if (order.do === 'take') {
    const { svids, ...copied } = order.copied;
    held.set(order.as, { caller: { ...copied, ca: undefined, svids: new Map(svids) } });
    return {};
  }
  const one = held.get(order.as);
  if (!one) throw new Error(`nothing is held as ${order.as}`);
  switch (order.do) {
    case 'copy': {
      const { mesh, services, identityToken, svids } = one.caller;
      return { mesh, services, identityToken, svids: [...svids] } satisfies Copied;
    }
    case 'hold': {
      const services = one.caller.services.filter(({ grant }) => grant === order.grant);
      const targets = chooseTargets(services, {});
      one.target = targets[0];
      const { caller } = one;
      const way = { edge: caller.mesh.edge };
      const hold = { caller, layer: 'edge', way, patience: PATIENCE } as const;
      one.open = (await Promise.all(targets.map((target) => holdConnections(hold, target)))).flat();
      for (const connection of one.open) if (!('diedAt' in connection)) throw new Error(connection.why);
      return {};
    }
    case 'watch': {
      const deaths = await watch(one, order.limitMs);
      clearInterval(one.beating);
      for (const connection of one.open!) if ('end' in connection) connection.end();
      held.delete(order.as);
      return deaths;
    }
    case 'goodbye': {
      const at = instant();
      await one.own!.client.goodbye(one.own!.accessToken);
      return at;
    }
    case 'rebuild': {
      const at = instant();
      const { client, accessToken } = await openSession(one.broker!, order.proof);
      void client.goodbye(accessToken).finally(() => client.close());
      return at;
    }
  }
}

function openSession(broker: string, { token, name }: Proof): Promise<DrillSession> {
  return openDrillSession({ broker }, { type: 'github-codespace', token, codespaceName: name });
}

/** A new connection is dead at the answer of the first refusal, and only if nothing is taken any more after it. */
async function watch(one: Held, limitMs: number): Promise<Deaths> {
  const deadline = performance.now() + limitMs;
  const open = one.open!.filter((connection) => 'diedAt' in connection);
  let refusedAt: number | undefined;
  const allDead = () => refusedAt !== undefined && open.every((connection) => connection.diedAt() !== undefined);
  while (!allDead() && performance.now() < deadline) {
    const { verdict } = await probeEdge(one.caller, one.target!, true);
    if (verdict === 'refused') refusedAt ??= performance.now();
    else if (verdict === 'taken') refusedAt = undefined;
    await new Promise((resolve) => setTimeout(resolve, PROBE_PAUSE_MS));
  }
  const instants = [refusedAt, ...open.map((connection) => connection.diedAt())];
  const entries = KINDS.map((kind, n) => [
    kind,
    instants[n] === undefined ? null : performance.timeOrigin + instants[n],
  ]);
  return Object.fromEntries(entries) as Deaths;
}
