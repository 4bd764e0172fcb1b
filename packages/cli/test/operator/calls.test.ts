/** Which broker an operator's command calls, with what, and what its answers mean. */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { run } from '../../src/program.ts';

interface Seen {
  readonly url: string;
  readonly token: string | undefined;
  readonly body: unknown;
}

let server: Server;
let origin: string;
let seen: Seen[];
/** What the broker answers; a function: to each request. */
let answer: unknown;

beforeAll(async () => {
  server = createServer(async (request, response) => {
    let text = '';
    for await (const part of request) text += part;
    const { url = '', headers } = request;
    seen.push({ url, token: headers.authorization, body: text === '' ? undefined : JSON.parse(text) });
    response
      .setHeader('content-type', 'application/json')
      .end(JSON.stringify(typeof answer === 'function' ? answer() : answer));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(() => server.close());

beforeEach(() => {
  seen = [];
  for (const name of ['OPERATOR', 'OPERATOR_TOKEN_FILE', 'BROKER', 'CA_FILE'])
    vi.stubEnv(`MESHPASS_${name}`, undefined);
  vi.stubEnv('ACTIONS_ID_TOKEN_REQUEST_URL', undefined);
  vi.stubEnv('MESHPASS_OPERATOR_TOKEN', 'an-operators-token');
});
afterEach(() => {
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
});

async function meshpass(...words: string[]) {
  const out = vi.spyOn(console, 'log').mockImplementation(() => {});
  const err = vi.spyOn(console, 'error').mockImplementation(() => {});
  const code = await run(['node', 'meshpass', ...words]);
  return { code, out: out.mock.calls.flat().join('\n'), err: err.mock.calls.flat().join('\n') };
}

describe('sessions close', () => {
  it('fails where no session has the id', async () => {
    answer = { closed: [], denied: [] };
    expect(await meshpass('sessions', 'close', '--id', 'nope', '--operator', origin)).toEqual({
      ...{ code: 1, out: '' },
      err: 'meshpass: No session has the id nope. List live sessions with meshpass sessions list. [not_found]',
    });
  });

  it.each([
    [['--id', 'a'], { closed: ['a'] }, 'Closed 1 session: a'],
    [
      ['--id', 'a'],
      { closed: [], denied: ['a'] },
      'Session a had already ended; credentials of it that may still be valid are now denied in the mesh.',
    ],
    [['--user', 'mona'], { closed: [] }, 'No live session matches: nothing was closed.'],
  ])('succeeds: %j %j', async (selection, closed, out) => {
    answer = closed;
    expect(await meshpass('sessions', 'close', ...selection, '--operator', origin)).toEqual({ code: 0, out, err: '' });
  });

  it.each([
    ['no selection', []],
    ['two', ['--id', 'a', '--all']],
    ['no reason for all', ['--all', '--yes']],
  ])('asks the broker for nothing with %s', async (_, selection) => {
    expect(await meshpass('sessions', 'close', ...selection, '--operator', origin)).toMatchObject({ code: 2 });
    expect(seen).toEqual([]);
  });
});

describe('policy history', () => {
  const HISTORY = { url: '/policy/history', token: 'Bearer an-operators-token', body: undefined };

  it.each([
    ['at --operator', () => ['--operator', origin]],
    ['at --operator, whatever --broker is', () => ['--operator', origin, '--broker', 'https://broker.invalid']],
    ['at --broker where there is no --operator', () => ['--broker', origin]],
  ])('asks as an operator %s', async (_, flags) => {
    answer = { versions: [] };
    expect(await meshpass('policy', 'history', ...flags())).toMatchObject({ code: 0 });
    expect(seen).toEqual([HISTORY]);
  });
});

it('reaches the operator listener by MESHPASS_OPERATOR', async () => {
  vi.stubEnv('MESHPASS_OPERATOR', origin);
  answer = { sessions: [] };
  expect(await meshpass('sessions', 'list', '--grant', 'dev')).toEqual({ code: 0, out: 'No live session.', err: '' });
  expect(seen).toMatchObject([{ url: '/admin/sessions?grant=dev' }]);
});

it('lists operators of a broker of an earlier version, which says nothing of confirmations', async () => {
  const who = { id: 'a', login: 'bob', subject: 'okta:bob', roles: [], source: null };
  answer = { sessions: [{ ...who, opened_at: '2026-01-01T00:00:00Z', expires_at: '2026-01-01T01:00:00Z' }] };
  const { out } = await meshpass('operators', 'list', '--operator', origin);
  expect(out).toMatch(/^a {2}bob \(okta:bob\) .* from unknown {2}until 2026-01-01T01:00:00Z$/);
});

describe('sessions list', () => {
  const row = (id: string) => ({
    ...{ id, subject: `idp:${id}`, login: id, workspace: id, grants: ['dev'] },
    ...{ opened_at: 0, expires_at: 0, lease_expires_at: 0 },
  });
  const list = () => meshpass('sessions', 'list', '--grant', 'dev', '--operator', origin, '--output', 'json');

  it('follows the pages, and prints one list', async () => {
    const pages = [
      { sessions: [row('a'), row('b')], next: 'b' },
      { sessions: [row('c')], next: 'c' },
      { sessions: [row('d')] },
    ];
    answer = () => pages[seen.length - 1];
    const { code, out } = await list();
    expect(code).toBe(0);
    expect(JSON.parse(out)).toEqual({ sessions: ['a', 'b', 'c', 'd'].map(row) });
    const url = '/admin/sessions?grant=dev';
    expect(seen).toMatchObject([{ url }, { url: `${url}&after=b` }, { url: `${url}&after=c` }]);
  });

  it('takes all at once from a broker of an earlier version', async () => {
    answer = { sessions: [row('a'), row('b')] };
    expect(JSON.parse((await list()).out)).toEqual({ sessions: [row('a'), row('b')] });
    expect(seen).toHaveLength(1);
  });

  it('fails where a page leads back, and does not go on for ever', async () => {
    answer = { sessions: [row('a')], next: 'a' };
    expect(await list()).toMatchObject({
      code: 3,
      out: '',
      err: expect.stringContaining('agent_broker_answer_invalid'),
    });
    expect(seen).toHaveLength(2);
  });
});

it('names the token that is missing, and both ways to give it', async () => {
  vi.stubEnv('MESHPASS_OPERATOR_TOKEN', undefined);
  expect(await meshpass('sessions', 'list', '--operator', origin)).toMatchObject({
    code: 2,
    err: expect.stringContaining('--operator-token'),
  });
});
