import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type EdgeDecision, EdgeDecisions, EdgeEvent } from '@meshpass/identity/channel';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import {
  createBrokerDecisionQueue,
  createSessionDirectory,
  type FollowHandle,
  followBroker,
  followFeed,
  type SessionDirectory,
} from '../src/index.ts';
import { createCa } from './mesh-ca.ts';

const ALICE = 'spiffe://cluster.local/ns/meshpass-shop/sa/alice';
const SNAPSHOT = {
  type: 'snapshot',
  sessions: [{ id: 's1', expires_at: 4_000_000_000, principals: [{ spiffe_id: ALICE, targets: [] }] }],
  roots: ['root'],
} as const;

let server: Server;
let answer: (request: IncomingMessage, response: ServerResponse) => void;
let access: { urls: string[]; tokenFile: string; caFile: string };
let folder: string;
let directory: SessionDirectory;
let following: FollowHandle | undefined;
const seen: string[] = [];

beforeEach(async () => {
  seen.length = 0;
  const web = await createCa('web');
  server = createServer(await web.issue({ san: [{ type: 'dns', value: 'localhost' }] }), (request, response) => {
    seen.push(`${request.method} ${request.url} ${request.headers.authorization}`);
    answer(request, response);
  });
  server.listen(0, 'localhost');
  await once(server, 'listening');
  folder = await mkdtemp(join(tmpdir(), 'meshpass-edge-'));
  const file = (name: string) => join(folder, name);
  await writeFile(file('token'), 'first\n');
  await writeFile(file('ca.pem'), web.root);
  const { port } = server.address() as { port: number };
  access = { urls: [`https://localhost:${port}`], tokenFile: file('token'), caFile: file('ca.pem') };
  directory = createSessionDirectory({ clock: Date.now });
});

afterEach(async () => {
  await following?.close();
  following = undefined;
  directory.close();
  server.closeAllConnections();
  server.close();
  await rm(folder, { recursive: true });
});

async function closedPort(): Promise<number> {
  const taken = createServer().listen(0, 'localhost');
  await once(taken, 'listening');
  const { port } = taken.address() as { port: number };
  taken.close();
  await once(taken, 'close');
  return port;
}

function stream(response: ServerResponse, ...events: readonly object[]): void {
  for (const event of events) response.write(`${JSON.stringify(event)}\n`);
}

describe('followBroker', () => {
  test('applies a snapshot and each event, however the network splits the lines', async () => {
    let open: ServerResponse | undefined;
    answer = (_request, response) => {
      open = response;
      const line = `${JSON.stringify(SNAPSHOT)}\n`;
      response.write(line.slice(0, 30));
      setTimeout(() => response.write(`${line.slice(30)}{"type":"roots","roots":["other"]}\n`), 20);
    };
    following = followBroker({ ...access, directory });
    await vi.waitFor(() => expect(directory.roots()).toEqual(['other']), { timeout: 60_000 });
    expect(directory.find(ALICE)?.id).toBe('s1');
    stream(open!, { type: 'close', id: 's1', reason: 'goodbye' });
    await vi.waitFor(() => expect(directory.find(ALICE)).toBeUndefined(), { timeout: 60_000 });
    expect(seen).toEqual(['GET /edge/stream Bearer first']);
  });

  test('reconnects after a failure with the current token', async () => {
    let open: ServerResponse | undefined;
    answer = (_request, response) => {
      open = response;
      stream(response, SNAPSHOT);
    };
    following = followBroker({ ...access, directory });
    await vi.waitFor(() => expect(directory.find(ALICE)).toBeDefined(), { timeout: 60_000 });
    await writeFile(access.tokenFile, 'second');
    answer = (_request, response) => stream(response, { ...SNAPSHOT, sessions: [] });
    open!.destroy();
    await vi.waitFor(() => expect(directory.find(ALICE)).toBeUndefined(), { timeout: 60_000 });
    expect(seen.at(-1)).toBe('GET /edge/stream Bearer second');
  });

  test('leaves a silent connection', async () => {
    answer = (_request, response) => stream(response, SNAPSHOT);
    following = followBroker({ ...access, directory, silenceMs: 100 });
    await vi.waitFor(() => expect(seen.length).toBeGreaterThan(1), { timeout: 60_000 });
  });

  test.each<[string, object | string]>([
    ['a line that is not JSON', 'nonsense'],
    ['an event that it does not know', { type: 'admit_everybody' }],
    [
      'a session with an invalid port',
      {
        ...SNAPSHOT,
        sessions: [
          { ...SNAPSHOT.sessions[0], principals: [{ spiffe_id: 'x', targets: [{ host: 'h', port: 70_000 }] }] },
        ],
      },
    ],
    ['a stream that does not start with a snapshot', { type: 'beat', at: 1 }],
  ])('reconnects after %s', async (_name, bad) => {
    answer = (_request, response) => response.write(`${typeof bad === 'string' ? bad : JSON.stringify(bad)}\n`);
    following = followBroker({ ...access, directory });
    await vi.waitFor(() => expect(seen.length).toBeGreaterThan(1), { timeout: 60_000 });
    expect(directory.state()).toBe('empty');
  });

  test('rejects a broker with a certificate of another CA', async () => {
    answer = (_request, response) => stream(response, SNAPSHOT);
    await writeFile(access.caFile, (await createCa('other')).root);
    const warned: string[] = [];
    const log = { info() {}, warn: (fields: object) => warned.push(String((fields as { err: Error }).err)) };
    following = followBroker({ ...access, directory, log });
    await vi.waitFor(() => expect(warned).not.toEqual([]), { timeout: 60_000 });
    expect([directory.state(), seen]).toEqual(['empty', []]);
  });

  test('accepts a certificate for the configured server name', async () => {
    answer = (_request, response) => stream(response, SNAPSHOT);
    const of = { ...access, urls: access.urls.map((url) => url.replace('localhost', '127.0.0.1')), directory };
    following = followBroker({ ...of, serverName: 'localhost' });
    await vi.waitFor(() => expect(directory.find(ALICE)).toBeDefined(), { timeout: 60_000 });
  });

  test('refuses a URL without TLS', async () => {
    const warned: string[] = [];
    const log = { info() {}, warn: (fields: object) => warned.push(String((fields as { err: Error }).err)) };
    following = followBroker({
      ...access,
      urls: access.urls.map((url) => url.replace('https', 'http')),
      directory,
      log,
    });
    await vi.waitFor(() => expect(warned[0]).toContain('must use https'), { timeout: 60_000 });
    expect(seen).toEqual([]);
  });

  test('uses whichever of several brokers answers', async () => {
    const refused = await closedPort();
    answer = (_request, response) => stream(response, SNAPSHOT);
    following = followBroker({ ...access, urls: [`https://localhost:${refused}`, ...access.urls], directory });
    await vi.waitFor(() => expect(directory.find(ALICE)).toBeDefined(), { timeout: 60_000 });
    const post = createBrokerDecisionQueue({ ...access, urls: [`https://localhost:${refused}`, ...access.urls] });
    answer = (_request, response) => response.writeHead(204).end();
    post.report({ id: 'd1', at: 1, outcome: 'refused', reason: 'no', source: '192.0.2.1:1' });
    await vi.waitFor(() => expect(post.stats().posted).toBe(1), { timeout: 60_000 });
    await post.close();
  });

  test('follows a broker without beats until another one sends a snapshot, and no longer', async () => {
    const opened: ServerResponse[] = [];
    const session = (id: string, name: string) => ({
      ...SNAPSHOT.sessions[0],
      id,
      principals: [{ spiffe_id: `spiffe://cluster.local/ns/meshpass-shop/sa/${name}`, targets: [] }],
    });
    answer = (_request, response) => {
      opened.push(response);
      // The first broker has lost its store, and no other serves yet.
      if (opened.length === 1)
        stream(response, { ...SNAPSHOT, sessions: [session('s1', 'alice'), session('s2', 'bob')] });
      else response.writeHead(503).end();
    };
    following = followBroker({ ...access, directory, silenceMs: 100, random: () => 0 });
    await vi.waitFor(() => expect(opened.length).toBeGreaterThan(2), { timeout: 60_000 });
    stream(opened[0]!, { type: 'close', id: 's1', reason: 'goodbye' });
    await vi.waitFor(() => expect(directory.find(ALICE)).toBeUndefined(), { timeout: 60_000 });
    expect(directory.size()).toBe(1);
    answer = (_request, response) => {
      opened.push(response);
      stream(response, { ...SNAPSHOT, sessions: [session('s3', 'carol')] });
    };
    const CAROL = 'spiffe://cluster.local/ns/meshpass-shop/sa/carol';
    await vi.waitFor(() => expect(directory.find(CAROL)).toBeDefined(), { timeout: 60_000 });
    // The former broker's memory is out of date.
    stream(opened[0]!, { type: 'admit', session: session('s1', 'alice') });
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(directory.find(ALICE)).toBeUndefined();
    expect(directory.size()).toBe(1);
  });

  test('followFeed requests a snapshot after the machine slept', async () => {
    let now = 0;
    const slept = createSessionDirectory({ clock: () => now, staleMs: 30_000 });
    let tell: (event: EdgeEvent) => void = () => {};
    let subscriptions = 0;
    const stop = followFeed((listener) => {
      subscriptions++;
      tell = listener;
      listener(EdgeEvent.parse(SNAPSHOT));
      return () => {};
    }, slept);
    expect(slept.find(ALICE)?.id).toBe('s1');
    now = 60_000;
    slept.sweep();
    expect(slept.state()).toBe('abandoned');
    tell({ type: 'beat', at: 60 });
    await vi.waitFor(() => expect(slept.find(ALICE)?.id).toBe('s1'), { timeout: 60_000 });
    expect(subscriptions).toBe(2);
    stop();
    slept.close();
  });
});

describe('postDecisions', () => {
  const decision = (n: number): EdgeDecision => ({
    id: `d${n}`,
    at: n,
    outcome: 'refused',
    reason: 'no',
    source: '192.0.2.1:1',
  });
  const taken: string[] = [];

  function take(status: () => number): void {
    taken.length = 0;
    answer = async (request, response) => {
      let body = '';
      for await (const chunk of request) body += chunk;
      const { decisions } = EdgeDecisions.parse(JSON.parse(body));
      response.statusCode = status();
      if (response.statusCode < 300) taken.push(...decisions.map((one) => one.id));
      response.end();
    };
  }

  test('delivers decisions in batches, in order', async () => {
    take(() => 204);
    const post = createBrokerDecisionQueue(access);
    for (let n = 0; n < 1_200; n++) post.report(decision(n));
    await vi.waitFor(() => expect(taken).toHaveLength(1_200), { timeout: 60_000 });
    expect(taken).toEqual(Array.from({ length: 1_200 }, (_, n) => `d${n}`));
    expect(seen).toHaveLength(3);
    await post.close();
    expect(post.stats()).toEqual({ queued: 0, posted: 1_200, dropped: 0 });
  });

  test('retries until the broker accepts them', async () => {
    let failures = 2;
    take(() => (failures-- > 0 ? 503 : 204));
    const post = createBrokerDecisionQueue({ ...access, random: () => 0 });
    post.report(decision(1));
    await vi.waitFor(() => expect(taken).toEqual(['d1']), { timeout: 60_000 });
    expect(seen).toHaveLength(3);
    await post.close();
  });

  test('delivers remaining decisions when the edge stops', async () => {
    take(() => 204);
    const post = createBrokerDecisionQueue(access);
    post.report(decision(1));
    await post.close();
    expect(taken).toEqual(['d1']);
  });

  test('logs and counts decisions that do not fit into the queue', async () => {
    take(() => 503);
    const logged: unknown[] = [];
    const log = { info() {}, warn: (fields: object) => logged.push(fields) };
    const post = createBrokerDecisionQueue({ ...access, maxQueue: 2, log });
    for (let n = 0; n < 3; n++) post.report(decision(n));
    expect(post.stats()).toMatchObject({ queued: 2, dropped: 1 });
    expect(logged).toEqual([{ decisions: [decision(2)] }]);
    await post.close();
    expect(post.stats()).toMatchObject({ queued: 0, dropped: 3 });
  });
});
