/** Asks the broker, over HTTPS, what control connections need of it. */
import type { IncomingMessage } from 'node:http';
import { Agent } from 'node:https';
import { EdgeLeaseAnswers, MAX_CONFIGURATION, MAX_EDGE_LEASES, MAX_STATEMENT } from '@meshpass/identity/channel/index';
import type { ControlBroker } from '../control/hub.ts';
import { type BrokerAccess, brokerAsker } from './ask-broker.ts';

const ANSWER_MS = 5_000;
const MAX_EMPTY = 1_024;
const MAX_ANSWERS = MAX_EDGE_LEASES * (MAX_STATEMENT + 256);

/** Keeps a few connections: leases come several times a second. */
export function controlBroker(access: BrokerAccess): ControlBroker & { close(): void } {
  const ask = brokerAsker(access);
  const agent = new Agent({ keepAlive: true, maxSockets: 8 });
  const post = async (path: string, body: object, limit: number): Promise<Buffer> =>
    readAll(await ask(path, { silenceMs: ANSWER_MS, body: JSON.stringify(body), agent }), limit);
  return {
    async renew(leases) {
      const answer = await post('/edge/leases', { leases }, MAX_ANSWERS);
      return EdgeLeaseAnswers.parse(JSON.parse(answer.toString('utf8'))).answers;
    },
    configuration: (announced) => post('/edge/configuration', announced, MAX_CONFIGURATION),
    async draining(sessions) {
      await post('/edge/draining', { sessions }, MAX_EMPTY);
    },
    close: () => agent.destroy(),
  };
}

async function readAll(answer: IncomingMessage, limit: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > limit) throw new Error(`the broker's answer is longer than ${limit} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
