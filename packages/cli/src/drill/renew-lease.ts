/** Renews a lease over HTTPS, as the agent does when its control channel is silent. */
import { randomUUID } from 'node:crypto';
import { BrokerClient } from '@meshpass/agent/session/broker-client';
import {
  createLeaseProof,
  createStatementReader,
  type EndedStatement,
  type LeaseStatement,
  type StatementKey,
} from '@meshpass/identity/channel/index';
import type { DpopKey } from '@meshpass/identity/dpop';
import { MeshpassError, toMeshpassError } from '@meshpass/identity/error';
import type { Verdict } from './attempt.ts';
import type { DrillCredentials } from './credentials.ts';

/** The broker's signed statement, or the code of its refusal. */
export type Renewal = LeaseStatement | EndedStatement | { readonly kind: 'refused'; readonly code: string };

/** Session whose lease is renewed. */
export interface LeasedSession {
  readonly id: string;
  readonly key: DpopKey;
  readonly statementKeys: readonly StatementKey[];
}

let last = 0;

/** Returns the sequence number for the next lease proof. It is greater than all earlier ones in this process. */
export function nextSeq(): number {
  last = Math.max(last + 1, Date.now());
  return last;
}

/** Renews a session's lease with a proof signed by its key. Never throws: a refusal is returned as a result. */
export async function renewLease({ broker: url, ca, dpop: key, session }: DrillCredentials): Promise<Renewal> {
  if (!session) return { kind: 'refused', code: 'session_unknown' };
  const client = new BrokerClient({ url, key, now: Date.now, randomId: randomUUID, ...(ca !== undefined && { ca }) });
  try {
    return await renewWithClient(client, { ...session, key });
  } catch (thrown) {
    return { kind: 'refused', code: toMeshpassError(thrown).code };
  } finally {
    client.close();
  }
}

/**
 * Renews a session's lease through the given client.
 * @throws MeshpassError the broker's refusal; `agent_broker_answer_invalid` if the response is not signed by the broker
 */
export async function renewWithClient(
  client: Pick<BrokerClient, 'renewLease' | 'brokerNow'>,
  { id, key, statementKeys }: LeasedSession,
): Promise<LeaseStatement | EndedStatement> {
  const proof = () => createLeaseProof({ sid: id, seq: nextSeq(), at: client.brokerNow }, key);
  const read = createStatementReader(statementKeys)(await client.renewLease(id, proof));
  if (read.state !== 'verified' || read.statement.kind === 'configuration' || read.statement.sid !== id) {
    throw new MeshpassError(
      'agent_broker_answer_invalid',
      "The broker's answer is not a signed statement about the lease.",
    );
  }
  return read.statement;
}

/** Converts a renewal into a verdict. Only an ended session proves that its key can no longer renew the lease. */
export function verdictOf(renewal: Renewal): Verdict {
  if (renewal.kind === 'lease') return { verdict: 'taken', how: 'renewed' };
  if (renewal.kind === 'ended') return { verdict: 'refused', how: `ended: ${renewal.cause}` };
  return { verdict: renewal.code.startsWith('session_') ? 'refused' : 'unclear', how: renewal.code };
}
