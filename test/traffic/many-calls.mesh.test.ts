/** Many calls at once through the workspace's Envoy, the real gateway and the sidecar: each has its own answer. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { codespaceEnvironment } from '@meshpass/lab/meshpass';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type DataPath, openDataPath } from '../mesh.ts';
import type { Called } from './call-at-once.ts';

const CALLER = fileURLToPath(new URL('call-at-once.ts', import.meta.url));
const CONNECTIONS = 12;
const CALLS = 10;

let dataPath: DataPath;
let session: string;
let directory: string;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'meshpass-many-'));
  const access = readFileSync(new URL('../../lab/src/access.yaml', import.meta.url), 'utf8');
  const accessFile = join(directory, 'access.yaml');
  writeFileSync(accessFile, access.replace('GET /whoami,', 'GET /whoami, GET /bytes/*,'));
  dataPath = await openDataPath({ accessFile });
  const env = codespaceEnvironment(dataPath.lab, dataPath.meshpass, await dataPath.codespace());
  const up = await dataPath.lab.exec('workspace', ['meshpass', 'up', '--output', 'json'], { env });
  expect(up.code, up.stderr).toBe(0);
  session = (JSON.parse(up.stdout) as { session: { id: string } }).session.id;
});
afterAll(async () => {
  await dataPath?.lab.exec('workspace', ['meshpass', 'down']);
  await dataPath?.close();
  rmSync(directory, { recursive: true, force: true });
});

const curl = (...args: string[]) => dataPath.lab.exec('workspace', ['curl', '-sS', '-m', '20', ...args]);

it('every call has its own answer, as the same principal, under the same policies', async () => {
  const alone = await curl('http://orders.shop:8080/whoami');
  expect(JSON.parse(alone.stdout).principal).toMatch(/^spiffe:/);
  const ran = await dataPath.lab.exec('workspace', [
    'node',
    CALLER,
    'http://orders.shop:8080',
    `${CONNECTIONS}`,
    `${CALLS}`,
  ]);
  expect(ran.code, ran.stderr).toBe(0);
  const called = JSON.parse(ran.stdout) as Called[];
  expect(called).toHaveLength(CONNECTIONS * CALLS);
  for (const { path, status, code, body } of called) {
    if (path.startsWith('/orders/')) {
      expect(status, body).toBe(200);
      expect(JSON.parse(body).id).toBe(path.slice('/orders/'.length));
    } else if (path === '/whoami') {
      expect(JSON.parse(body)).toEqual(JSON.parse(alone.stdout));
    } else if (path === '/refunds') {
      expect(status, body).toBe(201);
    } else {
      expect([status, code], body).toEqual([403, 'agent_policy_refused']);
      expect(body).toContain(`GET ${path} refused by policy at orders.shop`);
      expect(body).toContain(session);
    }
  }
});

it('the end of the session ends its calls at once', async () => {
  const downloads = [await download(), await download(), await download()];
  const closed = await fetch(`${dataPath.meshpass.operatorUrl}/admin/sessions/close`, {
    method: 'POST',
    headers: { authorization: `Bearer ${dataPath.meshpass.operatorToken}`, 'content-type': 'application/json' },
    body: JSON.stringify({ id: session }),
  });
  expect(closed.status).toBe(200);
  // Errors of curl for a reset connection, or for an incomplete body.
  for (const { ended } of downloads) expect([18, 56]).toContain(await ended);
});

/** Begins a download that would take minutes, as fast as it can: nothing waits in buffers. @returns exit code of curl */
async function download(): Promise<{ readonly ended: Promise<number | null> }> {
  const url = 'http://orders.shop:8080/bytes/60000000000';
  const child = dataPath.lab.spawn('workspace', ['curl', '-sS', '-o', '/dev/null', '-D', '-', url]);
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  await new Promise<void>((resolve) => child.stdout!.once('data', () => resolve()));
  child.stdout!.resume();
  return { ended };
}
