/** Delivers a standalone edge's decisions to the broker over HTTPS. */
import { type BrokerAccess, brokerAsker } from './ask-broker.ts';
import { type DecisionQueue, type DecisionQueueOptions, queueDecisions } from './decision-queue.ts';

const ANSWER_MS = 5_000;

export type PostDecisionsOptions = BrokerAccess & Omit<DecisionQueueOptions, 'deliver'>;

/** Creates the queue. If a response is lost, a decision may arrive twice. The broker records each id once. */
export function postDecisions(options: PostDecisionsOptions): DecisionQueue {
  const ask = brokerAsker(options);
  return queueDecisions({
    ...options,
    deliver: async (decisions) => {
      const body = JSON.stringify({ decisions });
      const answer = await ask('/edge/decisions', { silenceMs: ANSWER_MS, body });
      answer.resume();
    },
  });
}
