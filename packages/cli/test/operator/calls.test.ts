/** Broker that an operator's command calls, its credentials, and the meaning of answers. */

import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
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
/** Answer of the broker; a function answers each request. */
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
  const AGAIN =
    'An agent that still has access opens a new session within seconds. To keep a person out, first remove them from the access file ' +
    'or add them to its "deny", apply it, and close the session again (https://meshpass.dev/docs/ending-sessions#by-hand).';

  it('fails if no session has the id', async () => {
    answer = { closed: [], denied: [] };
    expect(await meshpass('sessions', 'close', '--id', 'nope', '--operator', origin)).toEqual({
      code: 1,
      out: '',
      err: 'meshpass: Session nope does not exist. Run meshpass sessions list to list live sessions. [not_found]\nsee https://meshpass.dev/docs/troubleshooting#not_found',
    });
  });

  it.each([
    [['--id', 'a'], { closed: ['a'], denied: [] }, `Closed 1 session: a\n${AGAIN}`],
    [['--user', 'mona'], { closed: ['a', 'b'], denied: [] }, `Closed 2 sessions: a, b\n${AGAIN}`],
    [
      ['--id', 'a'],
      { closed: [], denied: ['a'] },
      'Session a had already ended. The mesh now denies any of its credentials that are still valid.',
    ],
    [['--user', 'mona'], { closed: [], denied: [] }, 'No live session matches, so nothing was closed.'],
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
  ])('asks as an operator %s', async (_, flags) => {
    answer = { versions: [] };
    expect(await meshpass('policy', 'history', ...flags())).toMatchObject({ code: 0 });
    expect(seen).toEqual([HISTORY]);
  });
});

it.each(['apply --access ACCESS --dry-run', 'history', 'rollback 1 --reason r'])(
  'policy %s outside of CI uses the session at the operator listener, for any --broker',
  async (words) => {
    vi.stubEnv('MESHPASS_OPERATOR_TOKEN', undefined);
    vi.stubEnv('MESHPASS_STATE_DIR', '/nonexistent');
    const access = fileURLToPath(new URL('../../../../lab/samples/access.yaml', import.meta.url));
    const argv = words.split(' ').map((word) => (word === 'ACCESS' ? access : word));
    const { err } = await meshpass('policy', ...argv, '--broker', origin);
    expect(err).toContain('You are not signed in at http://127.0.0.1:9090. Run meshpass login.');
    expect(seen).toEqual([]);
  },
);

it('a job never accepts unknown verdicts', async () => {
  vi.stubEnv('ACTIONS_ID_TOKEN_REQUEST_URL', 'https://actions.invalid/oidc?api-version=2.0');
  vi.stubEnv('ACTIONS_ID_TOKEN_REQUEST_TOKEN', 'of-the-runner');
  const access = fileURLToPath(new URL('../../../../lab/samples/access.yaml', import.meta.url));
  const { code, err } = await meshpass('policy', 'apply', '--access', access, '--accept-unknown', '--broker', origin);
  expect(code).toBe(2);
  expect(err).toContain('Jobs cannot use --accept-unknown');
  expect(seen).toEqual([]);
});

describe('answers to requests', () => {
  const id = 'a'.repeat(24);
  const reason = ['--reason', 'seen'];

  it.each([
    [
      'approve',
      ['--for', '30m'],
      '/admin/approvals/answer',
      { id, decision: 'approve', seconds: 1800, reason: 'seen' },
    ],
    ['deny', [], '/admin/approvals/answer', { id, decision: 'deny', reason: 'seen' }],
    ['review', ['--object'], '/admin/approvals/review', { id, decision: 'object', reason: 'seen' }],
  ])('%s sends an order to the operator listener', async (command, flags, url, body) => {
    answer = { id, state: 'denied', person: {}, answers: [] };
    const words = [command, id, ...flags, ...reason, '--operator', origin, '--output', 'json'];
    expect(await meshpass(...words)).toMatchObject({ code: 0 });
    expect(seen).toMatchObject([{ url, body }]);
  });

  it.each([[[]], [['--accept', '--object']]])(
    'review refuses %j instead of one of --accept and --object',
    async (flags) => {
      const { code, err } = await meshpass('review', id, ...flags, ...reason, '--operator', origin);
      expect([code, err]).toEqual([2, expect.stringContaining('Pass exactly one of --accept and --object.')]);
      expect(seen).toEqual([]);
    },
  );
});

it('reaches the operator listener by MESHPASS_OPERATOR', async () => {
  vi.stubEnv('MESHPASS_OPERATOR', origin);
  answer = { sessions: [] };
  expect(await meshpass('sessions', 'list', '--grant', 'dev')).toEqual({ code: 0, out: 'No live sessions.', err: '' });
  expect(seen).toMatchObject([{ url: '/admin/sessions?grant=dev' }]);
});

it('lists operators, with the time at which their issuer confirmed them', async () => {
  const who = { id: 'a', login: 'bob', subject: 'okta:bob', roles: [], source: null };
  const times = {
    opened_at: '2026-01-01T00:00:00Z',
    confirmed_at: '2026-01-01T00:30:00Z',
    expires_at: '2026-01-01T01:00:00Z',
  };
  answer = { sessions: [{ ...who, ...times }] };
  const { out } = await meshpass('operators', 'list', '--operator', origin);
  expect(out.split('\n').map((line) => line.split(/ {2,}/))).toEqual([
    ['ID', 'LOGIN', 'SUBJECT', 'ROLES', 'SOURCE', 'CONFIRMED AT', 'EXPIRES AT'],
    ['a', 'bob', 'okta:bob', '-', '-', times.confirmed_at, times.expires_at],
  ]);
});

describe('sessions list', () => {
  const row = (id: string) => ({
    id,
    subject: `idp:${id}`,
    login: id,
    workspace: id,
    grants: ['dev'],
    opened_at: 0,
    expires_at: 0,
    lease_expires_at: 0,
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

  it('fails if a page leads back, and does not loop forever', async () => {
    answer = { sessions: [row('a')], next: 'a' };
    expect(await list()).toMatchObject({
      code: 3,
      out: '',
      err: expect.stringContaining('agent_broker_answer_invalid'),
    });
    expect(seen).toHaveLength(2);
  });
});

it('names the missing token, and both ways to pass it', async () => {
  vi.stubEnv('MESHPASS_OPERATOR_TOKEN', undefined);
  expect(await meshpass('sessions', 'list', '--operator', origin)).toMatchObject({
    code: 2,
    err: expect.stringContaining('--operator-token'),
  });
});
