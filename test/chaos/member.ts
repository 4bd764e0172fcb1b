/**
 * One light workspace: the agent's own modules for its session, its credentials and its tunnels, without the listeners for tools.
 * It calls a service at an even pace over a kept connection, and remembers every session that it has had.
 */
import { randomUUID } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import { BrokerClient } from '@meshpass/agent/broker-client';
import { type Credentials, newDpopKey } from '@meshpass/agent/enrol';
import { Keeper } from '@meshpass/agent/keep';
import { Tunnels } from '@meshpass/agent/tunnel';
import { TunnelIdentities } from '@meshpass/agent/tunnel-identity';
import type { Proof } from '@meshpass/identity/attestation';
import type { DpopKey } from '@meshpass/identity/dpop';
import { MeshpassError, toMeshpassError } from '@meshpass/identity/error';

/** A session as it was when it was last seen alive, to be misused when it is over. */
export interface Kept {
  readonly key: DpopKey;
  credentials: Credentials;
  /** Unix ms of the last call that was answered. */
  answeredAt: number | undefined;
  /** After its first answer. */
  readonly failures: Failure[];
  calls: number;
}

export interface Failure {
  /** Unix ms: when the call began, and when it failed. */
  readonly from: number;
  readonly at: number;
  /** When a call of the session was answered last before it. */
  readonly answeredAt: number;
  readonly why: string;
}

export interface MemberOptions {
  readonly broker: string;
  /** PEM of the CA of broker and edge. */
  readonly ca: string;
  readonly proof: Proof;
  /** Between two calls, ms. */
  readonly pace: number;
  readonly sessions: Map<string, Kept>;
  /** Told of everything that was no answer: "call" or the task of the keeper, and the code. */
  readonly refused: (what: string) => void;
}

export interface Member {
  readonly session: () => string;
  /** Ends the session as an agent does that is told to. */
  readonly goodbye: () => Promise<void>;
  /** Ends as a process does that is killed: nobody is told. */
  readonly vanish: () => void;
}

const PARK_MS = 30_000;
const ANSWER_MS = 10_000;
const SERVICE = 'orders.shop.svc.cluster.local';

/** @throws MeshpassError where no session opens */
export async function join(options: MemberOptions): Promise<Member> {
  const { ca, pace, sessions, refused } = options;
  const key = newDpopKey();
  const client = new BrokerClient({ url: options.broker, key, ca, now: Date.now, randomId: randomUUID });
  let current: Kept | undefined;
  const keeper: Keeper = new Keeper({
    ...{ client, now: Date.now, random: Math.random },
    log: (event, detail) => {
      if (event === 'renewal_failed') refused(`${detail?.task}: ${detail?.code}`);
    },
    source: { kind: 'codespace', proof: async () => options.proof },
    onChange: (what) => {
      const { credentials } = keeper;
      if (what === 'session') {
        current = { key, credentials, answeredAt: undefined, failures: [], calls: 0 };
        sessions.set(credentials.session.id, current);
      } else if (current) current.credentials = credentials;
      if (what === 'svids' || what === 'session') {
        identities.renewed();
        tunnels.refresh();
      }
    },
  });
  const identities = new TunnelIdentities({ credentials: () => keeper.credentials, publicRoots: ca, now: Date.now });
  const tunnels = new Tunnels({
    ...{ warm: 0, parkFor: PARK_MS },
    edge: () => keeper.credentials.mesh.edge,
    identity: (grant) => identities.of(grant),
  });
  await keeper.start();

  const call = async (): Promise<void> => {
    const kept = current!;
    const from = Date.now();
    try {
      await callOnce(tunnels, keeper, refused);
      kept.calls++;
      kept.answeredAt = Date.now();
    } catch (thrown) {
      refused(`call: ${wordOf(thrown).split(':')[0]}`);
      const { answeredAt } = kept;
      if (answeredAt !== undefined && !over)
        kept.failures.push({ from, at: Date.now(), answeredAt, why: wordOf(thrown) });
    }
  };
  let over = false;
  let timer: NodeJS.Timeout;
  const next = (ms: number) => {
    timer = setTimeout(async () => {
      await call();
      if (!over) next(pace);
    }, ms);
  };
  next(Math.random() * pace);
  const stop = () => {
    over = true;
    clearTimeout(timer);
    tunnels.close();
  };
  return {
    session: () => keeper.credentials.session.id,
    goodbye: async () => {
      stop();
      await keeper.close();
    },
    vanish: () => {
      stop();
      client.goodbye = async () => {};
      void keeper.close();
    },
  };
}

/** A connection that an earlier call left behind may have been wound up meanwhile: like the agent, once more on a new one. */
async function callOnce(tunnels: Tunnels, keeper: Keeper, refused: MemberOptions['refused']): Promise<void> {
  const service = keeper.credentials.services.find(({ host, protocol }) => host === SERVICE && protocol !== 'tcp');
  if (!service) throw new Error(`${SERVICE} is not among the services`);
  for (const fresh of [false, true]) {
    const socket = await tunnels.open(service, 'http1', fresh);
    try {
      const keepAlive = await getOrder(socket, service.port, keeper);
      if (keepAlive) tunnels.park(service, 'http1', socket);
      else socket.destroy();
      return;
    } catch (thrown) {
      socket.destroy();
      if (fresh || thrown instanceof MeshpassError) throw thrown;
      refused('a kept connection was gone');
    }
  }
}

function getOrder(socket: TLSSocket, port: number, keeper: Keeper): Promise<boolean> {
  const { mesh } = keeper.credentials;
  const head = [
    `GET /orders/1 HTTP/1.1`,
    `Host: ${SERVICE}:${port}`,
    `${mesh.token_header}: ${keeper.identityToken()}`,
  ];
  return new Promise((resolve, reject) => {
    let text = '';
    const done = (settle: () => void) => {
      clearTimeout(timer);
      socket.off('data', onData).off('error', onError).off('close', onClose);
      settle();
    };
    const onData = (part: Buffer) => {
      text += part.toString('latin1');
      const end = text.indexOf('\r\n\r\n');
      const length = /\r\ncontent-length: *(\d+)/i.exec(text.slice(0, end + 2))?.[1];
      if (end < 0 || length === undefined || text.length < end + 4 + Number(length)) return;
      const status = text.slice(9, 12);
      // A refusal by the mesh is an answer; it must not be tried again.
      if (status !== '200') return done(() => reject(new MeshpassError('internal', `HTTP ${status}`)));
      done(() => resolve(!/\r\nconnection: *close\r\n/i.test(text)));
    };
    const onError = (error: Error) => done(() => reject(error));
    const onClose = () => done(() => reject(new Error('closed without an answer')));
    const timer = setTimeout(() => done(() => reject(new MeshpassError('internal', 'no answer'))), ANSWER_MS);
    socket.on('data', onData).on('error', onError).on('close', onClose);
    socket.write(`${head.join('\r\n')}\r\n\r\n`);
  });
}

function wordOf(thrown: unknown): string {
  if (thrown instanceof MeshpassError) return `${toMeshpassError(thrown).code}: ${thrown.message.slice(0, 120)}`;
  return (thrown as NodeJS.ErrnoException).code ?? (thrown as Error).message;
}
