import { generateKeyPairSync } from 'node:crypto';
import { dpopKey, MeshpassError, sha256Base64url } from '@meshpass/identity';
import { signStatement } from '@meshpass/identity/channel';
import { expect, onTestFinished, test } from 'vitest';
import { SessionChannel } from '../../src/channel/session-channel.ts';
import type { ConfigurationContent } from '../../src/session/broker-answers.ts';
import type { WholeConfiguration } from '../../src/session/broker-client.ts';
import { type Credentials, generateDpopKey } from '../../src/session/enrol.ts';
import { TaskTimers } from '../../src/session/task-timers.ts';

type Answer = PromiseWithResolvers<WholeConfiguration>;

const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const keys = [{ ...dpopKey(privateKey).jwk, kid: 'one' }];

/** A session whose requests are answered by the test, and repeated as the manager repeats them. */
function asking() {
  const asked: ({ readonly token: string } & Answer)[] = [];
  const received: number[] = [];
  const logged: string[] = [];
  const session = { id: 'first', heartbeat_seconds: 15 };
  const credentials = {
    session,
    accessToken: 'mps-1',
    svids: new Map(),
    mesh: { statement_keys: keys, edge: { host: 'localhost', port: 9 } },
  };
  const tasks = new TaskTimers<'configuration'>({
    run: () => configuration.fetchConfiguration(),
    longestPause: () => 1_000,
    failed: () => true,
    waitsForOthers: () => false,
    succeeded: () => {},
    random: () => 0,
  });
  const configuration: SessionChannel = new SessionChannel({
    client: {
      brokerNow: Date.now(),
      renewLease: () => Promise.reject(new Error('unused')),
      configuration: (token: string) => {
        const answer: Answer = Promise.withResolvers();
        asked.push({ token, ...answer });
        return answer.promise;
      },
      readConfiguration: () => ({}) as ConfigurationContent,
    },
    manager: {
      credentials: credentials as unknown as Credentials,
      askForConfiguration: () => tasks.later('configuration', 0),
      askForKeys: () => logged.push('keys'),
      leaseRenewed: () => {},
      channelSilent: () => {},
      sessionEnded: () => {},
    },
    key: generateDpopKey(),
    edgeRoots: undefined,
    configured: ({ version }) => received.push(version),
    tunnelsDraining: () => {},
    now: Date.now,
    random: () => 0,
    log: (event) => logged.push(event),
  });
  onTestFinished(() => configuration.close());
  onTestFinished(() => tasks.close());
  configuration.begin();
  const next = (firstConfiguration?: WholeConfiguration) => {
    Object.assign(session, { id: 'second' });
    Object.assign(credentials, { accessToken: 'mps-2', firstConfiguration });
    configuration.begin();
  };
  return { configuration, tasks, asked, received, logged, next };
}

function whole(version: number, kid = 'one'): WholeConfiguration {
  const content = Buffer.from(`content ${version}`);
  const digest = sha256Base64url(content);
  const header = { kind: 'configuration' as const, set: 'dev', version, digest, size: content.length };
  return { statement: signStatement(header, { kid, privateKey }), content };
}

const settled = () => new Promise((resolve) => setImmediate(resolve));
/** Longer than the first pause after a failure. */
const repeated = { timeout: 60_000 };

test('requests the configuration once, unless it came with the session', async () => {
  const { asked, received, next } = asking();
  await expect.poll(() => asked.length).toBe(1);
  asked[0]!.resolve(whole(5));
  await settled();
  expect(received).toEqual([5]);
  next(whole(6));
  await settled();
  expect(received).toEqual([5, 6]);
  expect(asked).toHaveLength(1);
});

test('discards a response to the previous session, and repeats the request under the current one', async () => {
  const { asked, received, next } = asking();
  await expect.poll(() => asked.length).toBe(1);
  next();
  asked[0]!.resolve(whole(5));
  await expect.poll(() => asked.length).toBe(2);
  expect(received).toEqual([]);
  expect(asked[1]).toMatchObject({ token: 'mps-2' });
});

test('does not replace a configuration by an older response', async () => {
  const { tasks, asked, received } = asking();
  await expect.poll(() => asked.length).toBe(1);
  asked[0]!.resolve(whole(8));
  await settled();
  tasks.later('configuration', 0);
  await expect.poll(() => asked.length).toBe(2);
  asked[1]!.resolve(whole(7));
  await settled();
  expect(received).toEqual([8]);
});

test("does not use bytes without the broker's signature, and requests its keys for an unknown one", async () => {
  const { asked, received, logged } = asking();
  await expect.poll(() => asked.length).toBe(1);
  asked[0]!.resolve({ ...whole(5), content: Buffer.from('content 6') });
  await expect.poll(() => asked.length, repeated).toBe(2);
  asked[1]!.resolve(whole(5, 'two'));
  await expect.poll(() => asked.length, repeated).toBe(3);
  expect(received).toEqual([]);
  expect(logged).toEqual(['keys']);
  asked[2]!.resolve(whole(5));
  await expect.poll(() => received).toEqual([5]);
});

test('requests bytes again that cannot be used, and reports failures until then', async () => {
  const { asked, received, tasks } = asking();
  await expect.poll(() => asked.length).toBe(1);
  asked[0]!.reject(new MeshpassError('configuration_unavailable', 'Not yet.'));
  await expect.poll(() => tasks.failures).toEqual({ configuration: 'Not yet.' });
  await expect.poll(() => asked.length, repeated).toBe(2);
  asked[1]!.resolve(whole(5));
  await expect.poll(() => tasks.failures).toEqual({});
  expect(received).toEqual([5]);
});

test('uses no configuration after its end', async () => {
  const { configuration, asked, received } = asking();
  await expect.poll(() => asked.length).toBe(1);
  await configuration.close();
  asked[0]!.resolve(whole(5));
  await settled();
  expect(received).toEqual([]);
});
