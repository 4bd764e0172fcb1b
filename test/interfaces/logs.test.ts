/** Logs of broker and edge match docs/interfaces/log-line.schema.json. */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Ajv2020 } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { enrol, session, startHarness } from '../../packages/broker/test/harness/broker.ts';
import { writeCertificate } from '../../packages/broker/test/harness/certificate.ts';
import { grant } from '../../packages/broker/test/harness/mesh.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const schema = JSON.parse(readFileSync(join(ROOT, 'docs/interfaces/log-line.schema.json'), 'utf8')) as object;
const isLine = addFormats.default(new Ajv2020()).compile(schema);

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'meshpass-logs-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** Every line, as an object. */
function checked(lines: readonly string[]): Record<string, unknown>[] {
  return lines.map((line) => {
    const object = JSON.parse(line) as Record<string, unknown>;
    expect(isLine(object), `${line} ${JSON.stringify(isLine.errors)}`).toBe(true);
    // Of two members of one name, readers take either.
    expect(line.match(/"component":/g)).toHaveLength(1);
    return object;
  });
}

it('lines of a broker that serves, refuses, fails and stops', async () => {
  const harness = await startHarness();
  harness.mesh.setAccess([grant('dev')]);
  await session(harness, 'alice');
  await enrol(harness, 'bob', undefined, 'no token');
  harness.mesh.revokerDown = true;
  await harness.call({ path: '/services' });
  await harness.stop();
  const lines = checked(harness.log);
  expect(lines.map(({ component }) => component)).toEqual(lines.map(() => 'broker'));
  expect(lines.find(({ msg }) => msg === 'serving')).toMatchObject({ level: 'info', version: expect.any(String) });
  expect(lines.find(({ msg }) => msg === 'refused')).toMatchObject({
    code: expect.any(String),
    action: 'session.open',
  });
});

it('lines of an edge that listens and finds no broker', async () => {
  const { certFile, keyFile } = await writeCertificate(folder);
  const token = join(folder, 'token');
  writeFileSync(token, 'token', { mode: 0o600 });
  const flags = {
    listen: '127.0.0.1:0',
    broker: 'https://127.0.0.1:1',
    'broker-token': token,
    'tls-cert': certFile,
    'tls-key': keyFile,
    'mesh-gateway': '127.0.0.1:1',
  };
  const config = join(folder, 'edge.yaml');
  writeFileSync(config, JSON.stringify(flags));
  const edge = spawn(process.execPath, [join(ROOT, 'packages/cli/src/main.ts'), 'edge', '--config', config]);
  let text = '';
  edge.stdout.on('data', (chunk: Buffer) => (text += chunk));
  const ended = new Promise((resolve) => edge.on('exit', resolve));
  await expect.poll(() => text).toContain('no broker is serving the stream');
  edge.kill('SIGTERM');
  await ended;
  const lines = checked(text.trim().split('\n'));
  expect(lines[0]).toMatchObject({ level: 'info', component: 'edge', version: expect.any(String) });
  expect(lines.find(({ level }) => level === 'warn')).toMatchObject({ err: { message: expect.any(String) } });
});
