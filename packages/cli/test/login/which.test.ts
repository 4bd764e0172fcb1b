/** Identities of commands: the workspace's session, or an operator. */
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { serveControl } from '@meshpass/agent/control/control';
import type { ControlRequest } from '@meshpass/agent/control-request';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { run } from '../../src/program.ts';

const ID = '0123456789abcdef01234567';
const SIGN_IN = { issuer: 'okta', subject: 'okta:1', login: 'alice', since: 0, until: 60_000 };
const STATUS = {
  session: { id: 's', subject: 'github:1', login: 'mona', workspace: 'w', grants: ['dev'], expiresAt: 60_000 },
  signIns: [SIGN_IN],
};
const REQUEST = {
  id: ID,
  grant: 'prod',
  person: { login: 'mona', issuer: 'github' },
  seconds: 60,
  answers: [],
  needed: 1,
  answer_by: 0,
  state: 'denied',
};
const PROMPT = { issuer: 'okta', verificationUri: 'https://idp.example/device', userCode: 'ABCD-EFGH' };

let directory: string;
let asked: ControlRequest[];
let control: { close(): void } | undefined;
let listener: Server;
let operator: string;
let requests: string[];

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'meshpass-which-'));
  [asked, requests, control] = [[], [], undefined];
  listener = createServer((request, response) => {
    requests.push(`${request.method} ${request.url}`);
    response.writeHead(503, { 'content-type': 'application/json' }).end('{}');
  });
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
  operator = `http://127.0.0.1:${(listener.address() as AddressInfo).port}`;
  vi.stubEnv('MESHPASS_RUNTIME_DIR', join(directory, 'run'));
  vi.stubEnv('MESHPASS_STATE_DIR', join(directory, 'state'));
  vi.stubEnv('MESHPASS_OPERATOR_TOKEN', 'a-token-of-an-operator-that-is-long-enough');
  for (const name of ['BROKER', 'OPERATOR', 'OPERATOR_TOKEN_FILE', 'CA_FILE', 'SERVICE_ACCOUNT_TOKEN_FILE'])
    vi.stubEnv(`MESHPASS_${name}`, undefined);
});
afterEach(async () => {
  control?.close();
  await new Promise((resolve) => listener.close(resolve));
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
  rmSync(directory, { recursive: true });
});

/** The control socket is the agent's own; its session is not there. */
async function agentRuns(): Promise<void> {
  control = await serveControl(join(directory, 'run'), async (request) => {
    asked.push(request);
    if (request.command === 'sign-in') return PROMPT;
    if (request.command === 'sign-in-result') return { done: true };
    if (request.command === 'sign-out') return { signedOut: ['okta'] };
    if (request.command === 'approvals-change') return REQUEST;
    return STATUS;
  });
}

async function meshpass(...words: string[]) {
  const [out, said]: [string[], string[]] = [[], []];
  vi.spyOn(console, 'log').mockImplementation((line: string) => void out.push(line));
  vi.spyOn(console, 'error').mockImplementation((line: string) => void said.push(line));
  return { code: await run(['node', 'meshpass', ...words]), out: out.join('\n'), err: said.join('\n') };
}

/** Orders beside the question whether an agent runs. */
const orders = () => asked.filter(({ command }) => command !== 'status');

describe('the session of the workspace', () => {
  beforeEach(agentRuns);

  it('gets a sign-in by sign-in', async () => {
    const { code, out, err } = await meshpass('sign-in', '--issuer', 'okta');
    expect({ code, orders: orders(), requests }).toEqual({
      code: 0,
      orders: [
        { command: 'sign-in', issuer: 'okta' },
        { command: 'sign-in-result', issuer: 'okta' },
      ],
      requests: [],
    });
    expect(err).toContain('open https://idp.example/device in any browser and enter the code ABCD-EFGH');
    expect(out).toContain('Signed in at okta as alice (okta:1)');
  });

  it('gets a sign-in at the issuer that the agent selects, if none is named', async () => {
    const { out } = await meshpass('sign-in', '--output', 'json');
    expect(JSON.parse(out)).toEqual({ sign_ins: [SIGN_IN], grants: ['dev'] });
    expect(orders()[0]).toEqual({ command: 'sign-in' });
  });

  it('loses its sign-ins by sign-out', async () => {
    const { code, out } = await meshpass('sign-out');
    expect({ code, out, orders: orders(), requests }).toEqual({
      code: 0,
      out: 'Signed out at okta.',
      orders: [{ command: 'sign-out' }],
      requests: [],
    });
  });

  it.each([
    [['approve', ID], { path: '/approvals/answer', body: { id: ID, decision: 'approve' } }],
    [['deny', ID, '--reason', 'no'], { path: '/approvals/answer', body: { id: ID, decision: 'deny', reason: 'no' } }],
    [
      ['review', ID, '--accept', '--reason', 'ok'],
      { path: '/approvals/review', body: { id: ID, decision: 'accept', reason: 'ok' } },
    ],
  ])('answers by %j', async (words, change) => {
    expect((await meshpass(...words)).code).toBe(0);
    expect({ orders: orders(), requests }).toEqual({
      orders: [{ command: 'approvals-change', ...change }],
      requests: [],
    });
  });
});

describe('an operator', () => {
  const ANSWERS = [
    ['approve', ID],
    ['deny', ID, '--reason', 'no'],
    ['review', ID, '--accept', '--reason', 'ok'],
  ];

  it.each([...ANSWERS, ['login'], ['whoami']])(
    'acts by %s with --operator, even if an agent runs',
    async (...words) => {
      await agentRuns();
      await meshpass(...words, '--operator', operator);
      expect({ asked, isAsked: requests.length > 0 }).toEqual({ asked: [], isAsked: true });
    },
  );

  it.each([...ANSWERS, ['login'], ['whoami']])('acts by %s with MESHPASS_OPERATOR', async (...words) => {
    await agentRuns();
    vi.stubEnv('MESHPASS_OPERATOR', operator);
    await meshpass(...words);
    expect({ asked, isAsked: requests.length > 0 }).toEqual({ asked: [], isAsked: true });
  });

  it.each(['login', 'logout', 'whoami'])('acts by %s, whether an agent runs or not', async (command) => {
    await agentRuns();
    await meshpass(command);
    expect(asked).toEqual([]);
  });

  it.each(ANSWERS)('who has not signed in learns by %s that an agent is missing', async (...words) => {
    const { code, err } = await meshpass(...words);
    expect({ code, requests }).toEqual({ code: 3, requests: [] });
    expect(err).toMatch(/Run meshpass up in a workspace, or meshpass login as an operator\. \[agent_not_running\]/);
  });
});
