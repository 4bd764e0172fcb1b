/**
 * Light workspace: the agent's own modules for its session and its credentials, without an Envoy, because a hundred of them must fit into
 * one process. It calls a service at an even pace over a kept connection, and remembers every session that it has had.
 */
import type { TLSSocket } from 'node:tls';
import { RefusalReport } from '@meshpass/agent/access-log/report';
import { BrokerClient } from '@meshpass/agent/session/broker-client';
import { CredentialManager, credentialExpiredError } from '@meshpass/agent/session/credential-manager';
import { type Credentials, generateDpopKey } from '@meshpass/agent/session/enrol';
import { renewLease } from '@meshpass/cli/drill/session';
import { type OpenTunnel, openTunnel } from '@meshpass/cli/drill/tunnel';
import { type DpopKey, isErrorCode, MeshpassError, type Proof, toMeshpassError } from '@meshpass/identity';

/** Session as last seen alive, to be misused after its end. */
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
  /** Ends the session as an agent does on request. */
  readonly goodbye: () => Promise<void>;
  /** Ends like a killed process, without a notice. */
  readonly vanish: () => void;
}

const ANSWER_MS = 10_000;
const SERVICE = 'orders.shop.svc.cluster.local';

/** @throws MeshpassError if no session opens */
export async function join(options: MemberOptions): Promise<Member> {
  const { ca, pace, sessions, refused } = options;
  const key = generateDpopKey();
  const client = new BrokerClient({ url: options.broker, key, ca, now: Date.now });
  let current: Kept | undefined;
  const keeper: CredentialManager = new CredentialManager({
    client,
    now: Date.now,
    random: Math.random,
    report: new RefusalReport(),
    log: (event, detail) => {
      if (event === 'renewal_failed') refused(`${detail?.task}: ${detail?.code}`);
    },
    source: { kind: 'codespace', proof: async () => options.proof },
    fetchConfiguration: async () => {},
    renewLease: async () => {
      const { session } = keeper.credentials;
      const statement = await askForLease(client, keeper.credentials, key);
      if (statement.kind === 'lease') keeper.leaseRenewed(session.id, statement, 'https');
      else keeper.sessionEnded(session.id, statement);
    },
    onChange: (what) => {
      const { credentials } = keeper;
      if (what === 'session') {
        current = { key, credentials, answeredAt: undefined, failures: [], calls: 0 };
        sessions.set(credentials.session.id, current);
        // This member has no control channel, so that every lease goes over HTTPS.
        keeper.channelSilent(credentials.session.id);
      } else if (current) current.credentials = credentials;
      // Connections opened under the previous certificate are no longer used.
      if (what === 'svids' || what === 'session') connection.drop();
    },
  });
  const connection = new KeptConnection(() => keeper.credentials, ca);
  await keeper.start();

  const call = async (): Promise<void> => {
    const kept = current!;
    const from = Date.now();
    try {
      await callOnce(connection, keeper, refused);
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
    connection.drop();
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

/** Renews the lease over HTTPS. @throws MeshpassError the broker's refusal */
export function askForLease(client: BrokerClient, { session, mesh }: Credentials, key: DpopKey) {
  return renewLease({ client, key, session, mesh });
}

/** The connection to the service, kept between calls. */
class KeptConnection {
  readonly #credentials: () => Credentials;
  readonly #ca: string;
  #kept: OpenTunnel | undefined;

  constructor(credentials: () => Credentials, ca: string) {
    this.#credentials = credentials;
    this.#ca = ca;
  }

  /** @throws MeshpassError with the code of the edge's refusal, or Error if it did not open for another reason */
  async open(fresh: boolean): Promise<OpenTunnel> {
    if (!fresh && this.#kept && !this.#kept.socket.destroyed) return this.#kept;
    this.drop();
    const { mesh, svids, services } = this.#credentials();
    const service = services.find(({ host, protocol }) => host === SERVICE && protocol !== 'tcp');
    if (!service) throw new Error(`${SERVICE} is not among the services`);
    const { grant, host, port, spiffe_ids: peers } = service;
    const opened = await openTunnel(
      { ca: this.#ca, mesh, svids },
      { target: `${host}:${port}`, grant, edge: mesh.edge, peers },
    );
    if (!('socket' in opened)) {
      const { edgeCode, error, stage } = opened;
      throw isErrorCode(edgeCode) ? new MeshpassError(edgeCode, edgeCode) : new Error(`${stage}: ${error}`);
    }
    opened.socket.on('error', () => opened.socket.destroy());
    this.#kept = opened;
    return opened;
  }

  drop(): void {
    this.#kept?.end();
    this.#kept = undefined;
  }
}

/** A connection that an earlier call left behind may have been drained: then retry once on a new one. */
async function callOnce(
  connection: KeptConnection,
  keeper: CredentialManager,
  refused: MemberOptions['refused'],
): Promise<void> {
  for (const fresh of [false, true]) {
    const { socket } = await connection.open(fresh);
    try {
      const keepAlive = await getOrder(socket, keeper);
      if (!keepAlive) connection.drop();
      return;
    } catch (thrown) {
      connection.drop();
      if (fresh || thrown instanceof MeshpassError) throw thrown;
      refused('a kept connection was gone');
    }
  }
}

function getOrder(socket: TLSSocket, keeper: CredentialManager): Promise<boolean> {
  const { identityToken, mesh } = keeper.credentials;
  if (identityToken.expiresAt <= Date.now()) throw credentialExpiredError('identity token');
  const head = [`GET /orders/1 HTTP/1.1`, `Host: ${SERVICE}`, `${mesh.token_header}: ${identityToken.value}`];
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
