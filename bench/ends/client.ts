/**
 * The workspaces of bench/ends/bench.ts, as a process on a host of the lab: a JSON order a line on standard input, a JSON report a line
 * on standard output. It holds sessions with their connections as the drill does, keeps their leases, and tells the instant
 * (Unix ms) at which each connection died.
 */
import { createInterface } from 'node:readline';
import { probeEdge } from '@meshpass/cli/drill/call';
import {
  callBroker,
  createEmptyCredentials,
  type DrillCredentials,
  enrol,
  requestCertificate,
  requestToken,
} from '@meshpass/cli/drill/credentials';
import { type FailedConnection, type HeldConnection, holdConnections } from '@meshpass/cli/drill/hold-open';
import { renewLease } from '@meshpass/cli/drill/renew-lease';
import { chooseTargets, type Target } from '@meshpass/cli/drill/targets';
import { PROOF_TYPES } from '@meshpass/identity/attestation';
import { SessionResponse } from '@meshpass/identity/wire';

export interface Proof {
  readonly token: string;
  readonly name: string;
}
/** Credentials that a thief could copy: everything except the key, which never leaves the process. */
export interface Copied {
  readonly credentials: Omit<DrillCredentials, 'dpop'>;
  readonly opened: SessionResponse;
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

interface Held extends Copied {
  readonly credentials: DrillCredentials;
  beating: NodeJS.Timeout | undefined;
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
    (error: Error) => console.log(JSON.stringify({ id, error: error.message })),
  );
}

async function obey(order: Order): Promise<unknown> {
  if (order.do === 'open') {
    const one = await openSession(order.broker, order.proof);
    one.beating = setInterval(() => void renewLease(one.credentials), order.heartbeatMs);
    held.set(order.as, one);
    return one.opened.session;
  }
  if (order.do === 'take') {
    const { credentials, opened } = order.copied;
    held.set(order.as, {
      opened,
      credentials: { ...createEmptyCredentials(credentials.broker), ...credentials },
      beating: undefined,
    });
    return {};
  }
  const one = held.get(order.as);
  if (!one) throw new Error(`nothing is held as ${order.as}`);
  switch (order.do) {
    case 'copy': {
      const { dpop: _, ...credentials } = one.credentials;
      return { credentials, opened: one.opened } satisfies Copied;
    }
    case 'hold': {
      const services = one.opened.services.filter(({ grant }) => grant === order.grant);
      const { http, tcp } = chooseTargets(services, {});
      one.target = http;
      const { credentials, opened } = one;
      const way = { edge: opened.mesh.edge };
      one.open = await holdConnections(
        { credentials, mesh: opened.mesh, layer: 'edge', way, patience: PATIENCE },
        { http, tcp },
      );
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
      await callBroker(one.credentials, 'DELETE', '/session');
      return at;
    }
    case 'rebuild': {
      const at = instant();
      const next = await openSession(one.credentials.broker, order.proof);
      void callBroker(next.credentials, 'DELETE', '/session');
      return at;
    }
  }
}

async function openSession(broker: string, { token: proof, name }: Proof): Promise<Held> {
  const credentials = createEmptyCredentials(broker);
  const form = { subject_token_type: PROOF_TYPES.codespace, subject_token: proof, codespace_name: name };
  const opened = SessionResponse.parse(must(await enrol(credentials, form)));
  for (const grant of opened.session.grants) must(await requestCertificate(credentials, grant));
  must(await requestToken(credentials));
  return { credentials, opened, beating: undefined };
}

/** A new connection is dead at the answer of the first refusal, and only if nothing is taken any more after it. */
async function watch(one: Held, limitMs: number): Promise<Deaths> {
  const deadline = performance.now() + limitMs;
  const open = one.open!.filter((connection) => 'diedAt' in connection);
  let refusedAt: number | undefined;
  const allDead = () => refusedAt !== undefined && open.every((connection) => connection.diedAt() !== undefined);
  while (!allDead() && performance.now() < deadline) {
    const { verdict } = await probeEdge(one.credentials, one.opened.mesh, one.target!, true);
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

function must({ status, json, text }: { status: number; json: unknown; text: string }): unknown {
  if (status !== 200) throw new Error(`${status} ${text}`);
  return json;
}
