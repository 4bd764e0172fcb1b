/** What `meshpass doctor` says of a broker that is not what it should be; test/refusals/presence.mesh.test.ts has the rest. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { agentConfig } from '@meshpass/agent/control/config';
import { ERROR_CODES } from '@meshpass/identity/error';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { writeCertificate } from '../../../broker/test/harness/certificate.ts';
import { exitCodeFor } from '../../src/commands/doctor.ts';
import { adviceFor } from '../../src/doctor/advice.ts';
import { type DoctorLine, runDoctor } from '../../src/doctor/run.ts';

const TOKEN = `ghu_${'a'.repeat(36)}`;
const dir = mkdtempSync(join(tmpdir(), 'meshpass-doctor-'));
let server: Server;
let ca: string;
let url: string;
let issuer: string;
/** Of `POST /token`. */
let refusal: { status: number; code: string };

beforeAll(async () => {
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

const doctor = (env: Record<string, string> = {}, ahead = 0, broker = url) =>
  runDoctor({
    config: agentConfig({ broker, runtimeDirectory: join(dir, 'no agent') }, {}),
    ca,
    surroundings: {
      env: { CODESPACES: 'true', CODESPACE_NAME: 'fluffy-8412', GITHUB_TOKEN: TOKEN, ...env },
      readText: () => undefined,
      sharedDirectory: '/nowhere',
    },
    now: () => Date.now() + ahead,
  });
const line = (lines: readonly DoctorLine[], check: DoctorLine['check']) => lines.find((one) => one.check === check);

test('a broker of another name is told, whose proofs would be refused', async () => {
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

test('a clock that is a minute off is told, in which direction', async () => {
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

test('a refusal that has nothing to do with presence is the session’s', async () => {
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

test('no token is in what is said', async () => {
  const other = `ghp_${'b'.repeat(36)}`;
  const lines = await doctor({ GITHUB_TOKEN: other });
  expect(line(lines, 'token')).toMatchObject({ state: 'failed', says: expect.stringContaining('ghp_') });
  expect(JSON.stringify([...lines, ...(await doctor())])).not.toMatch(/a{36}|b{36}/);
});

test('every failure has a next step', () => {
  for (const code of ERROR_CODES) expect(adviceFor(code).next).toMatch(/\w{3}/);
});

test('a proof file is read, but what is in it is not presented', async () => {
  const file = join(dir, 'proof');
  const look = async (content: string | undefined) => {
    const lines = await runDoctor({
      config: agentConfig({ broker: url, proofFile: file, runtimeDirectory: join(dir, 'no agent') }, {}),
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
