/** Brings the decisions of an edge in a process of its own to the broker, over HTTPS. */
import { type BrokerAccess, brokerAsker } from './ask-broker.ts';
import { type DecisionQueue, type DecisionQueueOptions, queueDecisions } from './decision-queue.ts';

const ANSWER_MS = 5_000;

export type PostDecisionsOptions = BrokerAccess & Omit<DecisionQueueOptions, 'deliver'>;

/** A decision may arrive twice (an answer was lost): its id is the same, and the broker takes it once. */
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
