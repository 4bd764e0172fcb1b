/** Findings of `meshpass doctor` about a wrong broker; test/refusals/presence.mesh.test.ts has the rest. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { rootCertificates } from 'node:tls';
import { agentConfig } from '@meshpass/agent/control/config';
import type { AgentStatus } from '@meshpass/agent/control/status';
import { ENVOY_VERSION } from '@meshpass/agent/envoy/release';
import { ERROR_CODES } from '@meshpass/identity';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { writeCertificate } from '../../../broker/test/harness/certificate.ts';
import { adviceFor, exitCodeFor } from '../../src/diagnosis/finding.ts';
import type { CheckedFinding } from '../../src/diagnosis/run.ts';
import { checkAgentStatus } from '../../src/doctor/credentials.ts';
import { runDoctor } from '../../src/doctor/run.ts';

const TOKEN = `ghu_${'a'.repeat(36)}`;
const dir = mkdtempSync(join(tmpdir(), 'meshpass-doctor-'));
let server: Server;
let ca: string;
let url: string;
let issuer: string;
/** Refusal that answers `POST /token`. */
let refusal: { status: number; code: string };

beforeAll(async () => {
  writeFileSync(join(dir, 'hosts'), '127.0.0.1 localhost\n');
  writeFileSync(join(dir, 'envoy'), `#!/bin/sh\necho 'envoy  version: 0/${ENVOY_VERSION}/Clean/RELEASE/BoringSSL'\n`, {
    mode: 0o755,
  });
  const tls = await writeCertificate(dir);
  ca = tls.pem;
  server = createServer({ cert: tls.pem, key: readFileSync(tls.keyFile, 'utf8') }, (request, response) => {
    const isToken = request.url === '/token';
    const body = isToken ? { error: 'x', error_code: refusal.code, error_description: 'No.' } : { issuer };
    response.writeHead(isToken ? refusal.status : 200, { 'content-type': 'application/json' });
    response.end(JSON.stringify(body));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `https://localhost:${(server.address() as AddressInfo).port}`;
});
beforeEach(() => {
  issuer = url;
  refusal = { status: 403, code: 'access_none' };
});
afterAll(() => {
  server.close();
  server.closeAllConnections();
  rmSync(dir, { recursive: true });
});

/** A machine that lacks nothing. */
const machine = () => ({
  runtimeDirectory: join(dir, 'no agent'),
  hostsFile: join(dir, 'hosts'),
  envoy: join(dir, 'envoy'),
});
const doctor = (
  env: Record<string, string> = {},
  ahead = 0,
  broker = url,
  more: object = {},
  trusted: string | undefined = ca,
) =>
  runDoctor({
    config: agentConfig({ broker, ...machine(), ...more }, {}),
    ca: trusted,
    surroundings: {
      env: { CODESPACES: 'true', CODESPACE_NAME: 'fluffy-8412', GITHUB_TOKEN: TOKEN, ...env },
      readText: () => undefined,
      sharedDirectory: '/nowhere',
    },
    now: () => Date.now() + ahead,
  });
const line = (lines: readonly CheckedFinding[], check: string) => lines.find((one) => one.check === check);

test('a broker of another name is reported, because it would refuse the proofs', async () => {
  issuer = 'https://broker.example.com';
  const lines = await doctor();
  expect(line(lines, 'broker')).toMatchObject({ state: 'failed', code: 'config_invalid' });
  expect(line(lines, 'session')).toMatchObject({ state: 'skipped' });
  expect(exitCodeFor(lines)).toBe(1);
});

test('the same name written in another way is the same', async () => {
  expect(line(await doctor({}, 0, `${url.replace('localhost', 'LOCALHOST')}/`), 'broker')).toMatchObject({
    state: 'ok',
  });
});

test('a clock that is a minute off is reported, with the direction', async () => {
  expect(line(await doctor({}, -120_000), 'clock')).toMatchObject({
    state: 'failed',
    says: expect.stringContaining('behind'),
  });
  expect(line(await doctor({}, 120_000), 'clock')).toMatchObject({
    state: 'failed',
    says: expect.stringContaining('ahead'),
  });
  expect(line(await doctor({}, 2_000), 'clock')).toMatchObject({ state: 'ok' });
});

test("a refusal that has nothing to do with presence is the session's", async () => {
  const lines = await doctor();
  expect(line(lines, 'presence')).toMatchObject({ state: 'skipped' });
  expect(line(lines, 'session')).toMatchObject({
    state: 'failed',
    code: 'access_none',
    next: expect.stringContaining('access file'),
  });
  expect(line(lines, 'session')).not.toHaveProperty('untried');
  expect(exitCodeFor(lines)).toBe(1);
  refusal = { status: 503, code: 'issuer_unavailable' };
  expect(exitCodeFor(await doctor())).toBe(3);
});

test('no finding contains a token', async () => {
  const other = `ghp_${'b'.repeat(36)}`;
  const lines = await doctor({ GITHUB_TOKEN: other });
  expect(line(lines, 'token')).toMatchObject({ state: 'failed', says: expect.stringContaining('ghp_') });
  expect(JSON.stringify([...lines, ...(await doctor())])).not.toMatch(/a{36}|b{36}/);
});

test('every failure has a next step', () => {
  for (const code of ERROR_CODES) expect(adviceFor(code).next).toMatch(/\w{3}/);
});

test('a proof file is read, but its proof is not presented', async () => {
  const file = join(dir, 'proof');
  const look = async (content: string | undefined) => {
    const lines = await runDoctor({
      config: agentConfig({ broker: url, proofFile: file, ...machine() }, {}),
      ca,
      surroundings: { env: {}, readText: () => content, sharedDirectory: '/nowhere' },
      now: Date.now,
    });
    return [line(lines, 'token'), exitCodeFor(lines)] as const;
  };
  expect(await look('e30.e30.c2ln')).toMatchObject([{ state: 'skipped' }, 0]);
  expect(await look('x')).toMatchObject([{ state: 'failed', code: 'proof_malformed' }, 1]);
  const [missing, code] = await look(undefined);
  expect(missing).toMatchObject({ state: 'failed' });
  expect(code).not.toBe(0);
});

describe('of a machine', () => {
  test('that lacks nothing, every check is ok', async () => {
    const lines = await doctor();
    for (const check of ['envoy', 'hosts', 'ports'] as const) expect(line(lines, check)).toMatchObject({ state: 'ok' });
  });

  test('a name that does not resolve is reported, and the broker is not called', async () => {
    const lines = await doctor({}, 0, 'https://broker.invalid');
    expect(line(lines, 'dns')).toMatchObject({
      state: 'failed',
      says: expect.stringContaining('Cannot resolve broker.invalid'),
      seen: 'look up broker.invalid',
      command: expect.stringContaining('getent hosts broker.invalid'),
    });
    expect(line(lines, 'broker')).toMatchObject({ state: 'skipped' });
  });

  test('the signer of an untrusted certificate is named', async () => {
    const lines = await doctor({}, 0, url, {}, rootCertificates[0]);
    expect(line(lines, 'tls')).toMatchObject({
      state: 'failed',
      says: expect.stringMatching(/not trusted here \(\w+\)\. It was signed by .+\./),
      next: expect.stringContaining('--ca-file'),
      command: expect.stringContaining('openssl s_client'),
    });
    expect(line(lines, 'broker')).toMatchObject({ state: 'skipped' });
  });

  test('an expired certificate is reported with its day and whom to notify', async () => {
    const own = mkdtempSync(join(dir, 'expired-'));
    const { pem, keyFile } = await writeCertificate(own, { from: -9 * 86_400_000, until: -86_400_000 });
    const expired = createServer({ cert: pem, key: readFileSync(keyFile, 'utf8') });
    await new Promise<void>((resolve) => expired.listen(0, '127.0.0.1', resolve));
    const { port } = expired.address() as AddressInfo;
    const lines = await doctor({}, 0, `https://localhost:${port}`, {}, pem);
    expired.close();
    expect(line(lines, 'tls')).toMatchObject({
      state: 'failed',
      says: expect.stringMatching(/^The certificate for localhost expired on \d{4}-\d\d-\d\d by this machine's clock/),
      next: expect.stringContaining('Ask your platform team to renew it'),
    });
    expect(line(lines, 'broker')).toMatchObject({ state: 'skipped' });
  });

  test('a proxy in the environment is reported if the broker cannot be reached', async () => {
    const closed = createServer();
    await new Promise<void>((resolve) => closed.listen(0, '127.0.0.1', resolve));
    const { port } = closed.address() as AddressInfo;
    await new Promise((resolve) => closed.close(resolve));
    const lines = await doctor({ HTTPS_PROXY: 'http://proxy:3128' }, 0, `https://localhost:${port}`);
    expect(line(lines, 'broker')).toMatchObject({
      state: 'failed',
      says: expect.stringContaining('HTTPS_PROXY is set'),
    });
    expect(exitCodeFor(lines)).toBe(3);
  });

  test('no Envoy, one of another version, no hosts file and an occupied port are reported', async () => {
    writeFileSync(join(dir, 'old'), "#!/bin/sh\necho 'envoy  version: 0/1.20.0/Clean/RELEASE/BoringSSL'\n", {
      mode: 0o755,
    });
    const { port } = server.address() as AddressInfo;
    const lines = await doctor({}, 0, url, {
      envoy: join(dir, 'nothing'),
      hostsFile: join(dir, 'none'),
      presencePort: port,
    });
    expect(line(lines, 'envoy')).toMatchObject({
      state: 'failed',
      code: 'agent_envoy_missing',
      seen: join(dir, 'nothing'),
    });
    expect(line(lines, 'hosts')).toMatchObject({ state: 'failed', code: 'agent_hosts_unwritable' });
    expect(line(lines, 'ports')).toMatchObject({
      state: 'failed',
      says: expect.stringContaining('EADDRINUSE'),
      command: `ss -ltnp 'sport = :${port}'`,
    });
    const old = await doctor({}, 0, url, { envoy: join(dir, 'old'), byName: false });
    expect(line(old, 'envoy')).toMatchObject({ state: 'failed', says: expect.stringContaining('1.20.0') });
    expect(line(old, 'hosts')).toMatchObject({ state: 'skipped' });
  });
});

describe('of an agent that runs', () => {
  const status = (more: object) =>
    ({
      credentials: { svids: [{ expiresAt: 2_000 }], identityTokenExpiresAt: 9_000 },
      broker: { failures: {} },
      lease: { by: 'channel', since: 0 },
      notes: [],
      ...more,
    }) as unknown as AgentStatus;

  test('credentials and edge are judged by its answer', () => {
    expect(checkAgentStatus(status({}), 1_000)).toMatchObject({ credentials: { state: 'ok' }, edge: { state: 'ok' } });
    const { credentials: expired, edge: alone } = checkAgentStatus(
      status({
        broker: { failures: { certificates: 'No CA.' } },
        lease: { by: 'https', since: 0, refused: { code: 'overloaded', at: 0 } },
      }),
      5_000,
    );
    expect(expired).toMatchObject({
      state: 'failed',
      says: expect.stringContaining('No CA.'),
      command: 'meshpass down && meshpass up',
    });
    expect(alone).toMatchObject({ state: 'warning', says: expect.stringContaining('overloaded') });
  });
});
