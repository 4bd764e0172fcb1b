import { MeshpassError } from '@meshpass/identity/error';
import { expect, onTestFinished, test } from 'vitest';
import type { ReceivedConfiguration } from '../src/session/broker-answers.ts';
import { SessionConfiguration } from '../src/session/session-configuration.ts';

type Answer = PromiseWithResolvers<ReceivedConfiguration | undefined>;

/** A session whose requests the test answers. */
function asking() {
  const asked: ({ readonly token: string; readonly known: number | undefined } & Answer)[] = [];
  const received: number[] = [];
  const logged: string[] = [];
  const session = { id: 'first', accessToken: 'mps-1' };
  const configuration = new SessionConfiguration({
    client: {
      configuration: (token: string, known?: number) => {
        const answer: Answer = Promise.withResolvers();
        asked.push({ token, known, ...answer });
        return answer.promise;
      },
    },
    session: () => session,
    random: () => 0,
    received: ({ version }) => received.push(version),
    log: (event) => logged.push(event),
  });
  onTestFinished(() => configuration.close());
  configuration.ask();
  return { configuration, asked, received, logged, session };
}

const version = (number: number) => ({ version: number }) as ReceivedConfiguration;
const settled = () => new Promise((resolve) => setImmediate(resolve));

test('asks once, and again only for what differs from what it has', async () => {
  const { configuration, asked, received } = asking();
  asked[0]!.resolve(version(5));
  await settled();
  configuration.announced(5);
  expect(asked).toHaveLength(1);
  configuration.announced(6);
  expect(asked[1]).toMatchObject({ token: 'mps-1', known: 5 });
  asked[1]!.resolve(undefined);
  await settled();
  expect(received).toEqual([5]);
});

test('takes nothing that was asked for under a session before, and asks anew under this one', async () => {
  const { asked, received, session } = asking();
  Object.assign(session, { id: 'second', accessToken: 'mps-2' });
  asked[0]!.resolve(version(5));
  await expect.poll(() => asked.length).toBe(2);
  expect(received).toEqual([]);
  expect(asked[1]).toMatchObject({ token: 'mps-2', known: undefined });
});

test('what the channel has brought is not undone by an older answer that was under way', async () => {
  const { configuration, asked, received } = asking();
  configuration.take('first', version(8));
  asked[0]!.resolve(version(7));
  await settled();
  configuration.take('first', version(8));
  configuration.take('another', version(9));
  expect(received).toEqual([8]);
});

test('asks until there is an answer, and says what failed meanwhile', async () => {
  const { configuration, asked, received, logged } = asking();
  asked[0]!.reject(new MeshpassError('configuration_unavailable', 'Not yet.'));
  await expect.poll(() => asked.length).toBe(2);
  expect(configuration.failure).toBe('Not yet.');
  asked[1]!.resolve(version(5));
  await expect.poll(() => configuration.failure).toBeUndefined();
  expect(received).toEqual([5]);
  expect(logged).toEqual(['configuration_failed']);
});

test('says nothing of the request that its own end has broken', async () => {
  const { configuration, asked, logged } = asking();
  configuration.close();
  asked[0]!.reject(new MeshpassError('agent_broker_unreachable', 'closed'));
  await settled();
  expect(logged).toEqual([]);
  expect(configuration.failure).toBeUndefined();
});
