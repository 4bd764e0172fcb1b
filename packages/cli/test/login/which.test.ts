/** What `login`, `logout` and `whoami` are about: the session of the workspace, or an operator. */
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ControlRequest, serveControl } from '@meshpass/agent/control/control';
import { MeshpassError } from '@meshpass/identity/error';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { run } from '../../src/program.ts';

const BROKER = 'https://broker.example.com';
const SIGN_IN = { issuer: 'okta', subject: 'okta:1', login: 'alice', since: 0, until: 60_000 };
const STATUS = {
  session: { id: 's', subject: 'github:1', login: 'mona', workspace: 'w', grants: ['dev'], expiresAt: 60_000 },
  signIns: [SIGN_IN],
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
  vi.stubEnv('MESHPASS_BROKER', BROKER);
  vi.stubEnv('MESHPASS_OPERATOR_TOKEN', 'a-token-of-an-operator-that-is-long-enough');
  for (const name of ['OPERATOR', 'OPERATOR_TOKEN_FILE', 'CA_FILE', 'SERVICE_ACCOUNT_TOKEN_FILE'])
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

describe('where an agent runs, the workspace is meant', () => {
  beforeEach(agentRuns);

  it.each([
    ['login', ['login', '--issuer', 'okta']],
    ['login with the broker of the workspace named', ['login', '--issuer', 'okta', '--broker', BROKER]],
    // Its sign-in is by a code anyway.
    ['login --device', ['login', '--issuer', 'okta', '--device']],
  ])('by %s', async (_, words) => {
    const { code, out, err } = await meshpass(...words);
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

  it('by login without an issuer, which the agent chooses', async () => {
    expect((await meshpass('login', '--output', 'json')).out).toBe(
      JSON.stringify({ sign_ins: [SIGN_IN], grants: ['dev'] }),
    );
    expect(orders()[0]).toEqual({ command: 'sign-in' });
  });

  it('by logout', async () => {
    const { code, out } = await meshpass('logout');
    expect({ code, out, orders: orders(), requests }).toEqual({
      ...{ code: 0, out: 'Signed out at okta.', orders: [{ command: 'sign-out' }], requests: [] },
    });
  });

  it('by whoami', async () => {
    const { code, out } = await meshpass('whoami');
    expect({ code, requests }).toEqual({ code: 0, requests: [] });
    expect(out).toContain('mona (github:1) in w: dev\nSigned in at okta as alice');
  });
});

it('the workspace is meant where the agent runs and has no session yet', async () => {
  control = await serveControl(join(directory, 'run'), async () => {
    throw new MeshpassError('agent_not_running', 'The agent is starting; ask again in a moment.');
  });
  const { code, err } = await meshpass('whoami');
  expect({ code, requests }).toEqual({ code: 3, requests: [] });
  expect(err).toContain('The agent is starting');
});

describe('an operator is meant', () => {
  it.each(['login', 'logout', 'whoami'])('by %s with --operator, where an agent runs', async (command) => {
    await agentRuns();
    await meshpass(command, '--operator', operator);
    expect(asked).toEqual([]);
    if (command !== 'logout') expect(requests.length).toBeGreaterThan(0);
  });

  it.each(['login', 'logout', 'whoami'])('by %s with MESHPASS_OPERATOR, where an agent runs', async (command) => {
    await agentRuns();
    vi.stubEnv('MESHPASS_OPERATOR', operator);
    await meshpass(command);
    expect(asked).toEqual([]);
  });

  it.each(['login', 'logout', 'whoami'])('by %s with another --broker, where an agent runs', async (command) => {
    await agentRuns();
    await meshpass(command, '--broker', operator);
    expect(asked).toEqual([]);
  });

  it.each(['login', 'whoami'])('by %s where no agent runs', async (command) => {
    vi.stubEnv('MESHPASS_BROKER', operator);
    const { code } = await meshpass(command);
    expect(code).not.toBe(0);
    expect(requests.length).toBeGreaterThan(0);
  });
});
