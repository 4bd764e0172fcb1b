/**
 * Sends the HTTPS requests of a standalone edge to the broker, both for control connections and to report decisions.
 */
import { Agent } from 'node:https';
import {
  LeaseResponse,
  MAX_ANNOUNCED_CONFIGURATION_BYTES,
  MAX_LEASES,
  MAX_STATEMENT_LENGTH,
} from '@meshpass/identity/channel/index';
import { readBounded } from '@meshpass/identity/limits/read-bounded';
import type { ControlBroker } from '../control/hub.ts';
import { type BrokerAccess, createBrokerRequester } from './ask-broker.ts';
import { createDecisionQueue, type DecisionQueue, type DecisionQueueOptions } from './decision-queue.ts';

const ANSWER_MS = 5_000;
const MAX_EMPTY = 1_024;
const MAX_ANSWERS = MAX_LEASES * (MAX_STATEMENT_LENGTH + 256);

/**
 * Creates the broker client for control connections. It keeps a few connections open, because leases arrive several
 * times a second.
 */
export function controlBroker(access: BrokerAccess): ControlBroker & { close(): void } {
  const ask = createBrokerRequester(access);
  const agent = new Agent({ keepAlive: true, maxSockets: 8 });
  // Configurations use separate connections, so that a burst of large ones does not delay leases.
  const configurations = new Agent({ keepAlive: true, maxSockets: 8 });
  const post = async (path: string, body: object, limit: number, through = agent): Promise<Buffer> =>
    readBounded(await ask(path, { silenceMs: ANSWER_MS, body: JSON.stringify(body), agent: through }), limit);
  return {
    async renew(leases) {
      const answer = await post('/leases', { leases }, MAX_ANSWERS);
      return LeaseResponse.parse(JSON.parse(answer.toString('utf8'))).answers;
    },
    configuration: (announced) =>
      post('/edge/configuration', announced, MAX_ANNOUNCED_CONFIGURATION_BYTES, configurations),
    async draining(sessions) {
      await post('/edge/draining', { sessions }, MAX_EMPTY);
    },
    close() {
      agent.destroy();
      configurations.destroy();
    },
  };
}

export type BrokerDecisionQueueOptions = BrokerAccess & Omit<DecisionQueueOptions, 'deliver'>;

/**
 * Creates a queue that delivers decisions to the broker. If a response is lost, a decision may be delivered twice, but
 * the broker records each id only once.
 */
export function createBrokerDecisionQueue(options: BrokerDecisionQueueOptions): DecisionQueue {
  const ask = createBrokerRequester(options);
  return createDecisionQueue({
    ...options,
    deliver: async (decisions) => {
      const body = JSON.stringify({ decisions });
      const answer = await ask('/edge/decisions', { silenceMs: ANSWER_MS, body });
      answer.resume();
    },
  });
}
