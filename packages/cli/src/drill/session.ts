/**
 * Opens and uses the session of a drill with the agent's broker client. The credentials are kept after the session has
 * ended, so that the drill can check that they no longer work.
 */
import { createSecureContext, type TLSSocket } from 'node:tls';
import { connectToEdge } from '@meshpass/agent/channel/connect';
import { BrokerClient } from '@meshpass/agent/session/broker-client';
import { type Credentials, enrol, generateDpopKey } from '@meshpass/agent/session/enrol';
import { createStatementVerifier, type StatementVerifier } from '@meshpass/agent/statements/statement-verifier';
import {
  createLineReader,
  type DpopKey,
  MeshpassError,
  type Proof,
  parseJson,
  toMeshpassError,
} from '@meshpass/identity';
import {
  createLeaseProof,
  createStatementReader,
  EdgeFrame,
  type EndedStatement,
  formatFrame,
  type LeaseStatement,
  MAX_STATEMENT_LENGTH,
  type StatementKey,
} from '@meshpass/identity/channel';
import type { SessionInfo } from '@meshpass/identity/wire';
import type { Verdict } from './attempt.ts';
import type { TunnelCredentials } from './tunnel.ts';

/** All credentials that the broker issued for a session. They are only kept in memory. */
export interface DrillSession extends Credentials {
  readonly client: BrokerClient;
  readonly key: DpopKey;
  /** The CA of the broker and the edge, in PEM format. Defaults to Node's built-in roots. */
  readonly ca: string | undefined;
}

export interface DrillSessionOptions {
  /** The public URL of the broker. */
  readonly broker: string;
  /** The CA of the broker and the edge, in PEM format. */
  readonly ca?: string | undefined;
  /** The port for presence challenges, as in AgentConfig. */
  readonly presencePort?: number;
  readonly clusterDomain?: string;
}

/** A session whose lease can be renewed. */
interface LeasedSession {
  readonly client: Pick<BrokerClient, 'renewLease' | 'brokerNow'>;
  readonly key: DpopKey;
  readonly session: Pick<SessionInfo, 'id'>;
  readonly mesh: { readonly statement_keys: readonly StatementKey[] };
}

let last = 0;

/**
 * Opens a session with an identity token and a certificate for each grant.
 * @throws MeshpassError with the broker's error code
 */
export async function openDrillSession(
  { broker: url, ca, ...options }: DrillSessionOptions,
  proof: Proof,
): Promise<DrillSession> {
  const key = generateDpopKey();
  const client = new BrokerClient({ ...options, url, ca, key, now: Date.now });
  try {
    const credentials = await enrol(client, proof, Date.now, () => undefined);
    return { ...credentials, client, key, ca };
  } catch (thrown) {
    client.close();
    throw thrown;
  }
}

/** Returns the sequence number for the next lease proof. It is greater than all previous ones in this process. */
function nextSeq(): number {
  last = Math.max(last + 1, Date.now());
  return last;
}

/**
 * Renews a session's lease over HTTPS, as the agent does when its control channel is silent.
 * @returns the statement signed by the broker
 * @throws MeshpassError `agent_broker_answer_invalid` if the response is not signed by the broker, or the error that
 *   the broker returns
 */
export async function renewLease({
  client,
  key,
  session: { id },
  mesh,
}: LeasedSession): Promise<LeaseStatement | EndedStatement> {
  const proof = () => createLeaseProof({ sid: id, seq: nextSeq(), at: client.brokerNow }, key);
  const read = createStatementReader(mesh.statement_keys)(await client.renewLease(id, proof));
  if (read.state !== 'verified' || read.statement.kind === 'configuration' || read.statement.sid !== id) {
    throw new MeshpassError(
      'agent_broker_answer_invalid',
      "The broker's answer is not a signed statement about the lease.",
    );
  }
  return read.statement;
}

/** Renews a session's lease. Never throws. A refusal is returned as a verdict instead. */
export function renewalVerdict(session: LeasedSession): Promise<Verdict> {
  return brokerVerdict(renewLease(session), (statement) =>
    statement.kind === 'lease'
      ? { verdict: 'taken', how: 'renewed' }
      : { verdict: 'refused', how: `ended: ${statement.cause}` },
  );
}

const ISSUED: Verdict = { verdict: 'taken', how: 'issued' };

/** Converts the broker's response into a verdict. Never throws. A refusal is returned as a verdict instead. */
export async function brokerVerdict<T>(
  answer: Promise<T>,
  accepted: (value: T) => Verdict = () => ISSUED,
): Promise<Verdict> {
  try {
    return accepted(await answer);
  } catch (thrown) {
    const { code, message, status } = toMeshpassError(thrown);
    // Only these error codes prove that the credential is dead. An overloaded or failing broker returns different
    // codes.
    const dead = status === 401 && code.startsWith('session_');
    if (dead) return { verdict: 'refused', how: `${status} ${code}` };
    return { verdict: 'unclear', how: `${code}: ${message}` };
  }
}

const PATIENCE_MS = 5_000;
const MAX_LINE = MAX_STATEMENT_LENGTH + 256;
/** The error codes that prove that the session has ended. No other error code proves it. */
const OVER = new Set(['tunnel_session_unknown', 'session_closed', 'session_unknown']);

/**
 * Renews a session's lease over a control connection to the edge, just as the agent does. Never throws. A refusal is
 * returned as a verdict instead.
 */
export async function renewViaEdge({
  ca,
  key,
  svids,
  mesh,
  session: { id: sid },
}: TunnelCredentials & Pick<DrillSession, 'key' | 'mesh' | 'session'>): Promise<Verdict> {
  const [svid] = svids.values();
  const context = createSecureContext({
    ...(ca !== undefined && { ca }),
    ...(svid && { key: svid.privateKey, cert: svid.chain }),
  });
  const received = createStatementVerifier({ sessionId: sid, keys: () => mesh.statement_keys });
  const seq = nextSeq();
  try {
    const socket = await connectToEdge(mesh.edge, context, AbortSignal.timeout(PATIENCE_MS));
    socket.setTimeout(PATIENCE_MS, () => socket.destroy(new Error('no answer')));
    received.sent(seq);
    socket.write(formatFrame({ type: 'lease', proof: createLeaseProof({ sid, seq, at: Date.now() }, key) }));
    return await firstVerdict(socket, received);
  } catch (thrown) {
    const { cause, message } = thrown as Error;
    return unclear((cause instanceof Error ? cause.message : message).slice(0, 200));
  }
}

async function firstVerdict(socket: TLSSocket, received: StatementVerifier): Promise<Verdict> {
  const lines = createLineReader(() => MAX_LINE);
  for await (const chunk of socket as AsyncIterable<Buffer>) {
    const verdicts: Verdict[] = [];
    if (!lines.push(chunk, (line) => verdicts.push(...verdictIn(line, received)))) return unclear('answer too long');
    if (verdicts[0]) return verdicts[0];
  }
  return unclear('closed without an answer');
}

function verdictIn(line: string, received: StatementVerifier): readonly Verdict[] {
  const frame = EdgeFrame.safeParse(parseJson(line)).data;
  if (frame?.type === 'refused')
    return [{ verdict: OVER.has(frame.error_code) ? 'refused' : 'unclear', how: frame.error_code }];
  if (frame?.type !== 'statement') return [];
  const belief = received.statement(frame.statement);
  switch (belief.type) {
    case 'lease':
      return [{ verdict: 'taken', how: 'renewed' }];
    case 'ended':
      return [{ verdict: 'refused', how: `ended: ${belief.ended.cause}` }];
    case 'forged':
    case 'unknown_key':
      return [unclear('a statement that the broker did not sign')];
    default:
      return [];
  }
}

function unclear(how: string): Verdict {
  return { verdict: 'unclear', how };
}
