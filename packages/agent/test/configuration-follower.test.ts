import { MeshpassError } from '@meshpass/identity/error';
import { expect, onTestFinished, test } from 'vitest';
import type { ReceivedConfiguration } from '../src/session/broker-answers.ts';
import type { BrokerClient } from '../src/session/broker-client.ts';
import { ConfigurationFollower } from '../src/session/configuration-follower.ts';

type Answer = PromiseWithResolvers<ReceivedConfiguration | undefined>;

/** A follower whose requests the test answers. */
function following() {
  const asked: ({ readonly token: string; readonly known: number | undefined } & Answer)[] = [];
  const received: number[] = [];
  const logged: string[] = [];
  const session = { token: 'first' };
  const client = {
    configuration: (token: string, known?: number) => {
      const answer: Answer = Promise.withResolvers();
      asked.push({ token, known, ...answer });
      return answer.promise;
    },
  };
  const follower = new ConfigurationFollower({
    client: client as unknown as BrokerClient,
    accessToken: () => session.token,
    random: () => 0,
    received: ({ version }) => received.push(version),
    log: (event) => logged.push(event),
  });
  onTestFinished(() => follower.close());
  follower.start();
  return { follower, asked, received, logged, session };
}

const version = (number: number) => ({ version: number }) as ReceivedConfiguration;

test('asks for what differs from what it has', async () => {
  const { asked, received } = following();
  asked[0]!.resolve(version(5));
  await expect.poll(() => asked.length).toBe(2);
  expect(received).toEqual([5]);
  expect(asked[1]).toMatchObject({ token: 'first', known: 5 });
});

test('takes nothing that was asked for under a session before, and asks anew under this one', async () => {
  const { asked, received, session } = following();
  session.token = 'second';
  asked[0]!.resolve(version(5));
  await expect.poll(() => asked.length).toBe(2);
  expect(received).toEqual([]);
  expect(asked[1]).toMatchObject({ token: 'second', known: undefined });
});

test('says nothing of the request that its own end has broken', async () => {
  const { follower, asked, logged } = following();
  follower.close();
  asked[0]!.reject(new MeshpassError('agent_broker_unreachable', 'closed'));
  await new Promise((resolve) => setImmediate(resolve));
  expect(logged).toEqual([]);
  expect(follower.failure).toBeUndefined();
});
