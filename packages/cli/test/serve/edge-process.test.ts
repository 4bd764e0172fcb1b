/** An edge in a process: the key of its certificate, and its log. */
import { once } from 'node:events';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createSessionDirectory, SILENT_LOG } from '@meshpass/edge';
import { afterAll, expect, it } from 'vitest';
import { createCa } from '../../../edge/test/mesh-ca.ts';
import { runEdge } from '../../src/serve/edge-process.ts';

const dir = mkdtempSync(join(tmpdir(), 'meshpass-edge-process-'));
const LOOPBACK = { host: '127.0.0.1', port: 0 };
const parts = () => ({
  listen: LOOPBACK,
  gateway: LOOPBACK,
  directory: createSessionDirectory({ clock: Date.now }),
  report: () => {},
  control: { renew: async () => [], configuration: async () => Buffer.alloc(0), draining: async () => {} },
  log: SILENT_LOG,
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

it.each([0o604, 0o640, 0o644])('an edge does not start with a key of mode %o', async (mode) => {
  const [tlsCert, tlsKey] = [join(dir, 'tls.crt'), join(dir, 'tls.key')];
  for (const file of [tlsCert, tlsKey]) writeFileSync(file, 'never looked at');
  chmodSync(tlsKey, mode);
  const edge = runEdge({ ...parts(), tlsCert, tlsKey });
  await expect(edge).rejects.toMatchObject({ code: 'config_invalid', message: expect.stringContaining(tlsKey) });
});

it('an edge does not start with a key that is not that of its certificate, and names both files', async () => {
  const ca = await createCa('web');
  const issue = () => ca.issue({ san: [{ type: 'dns', value: 'localhost' }] });
  const [one, other] = [await issue(), await issue()];
  const [tlsCert, tlsKey] = [join(dir, 'one.crt'), join(dir, 'other.key')];
  writeFileSync(tlsCert, one.cert);
  writeFileSync(tlsKey, other.key, { mode: 0o600 });
  await expect(runEdge({ ...parts(), tlsCert, tlsKey })).rejects.toMatchObject({
    code: 'config_invalid',
    message: expect.stringContaining(`The key in ${tlsKey} does not match the certificate in ${tlsCert}`),
  });
});

it('an edge does not start without its certificate', async () => {
  const tlsCert = join(dir, 'nowhere.crt');
  await expect(runEdge({ ...parts(), tlsCert, tlsKey: join(dir, 'nowhere.key') })).rejects.toMatchObject({
    code: 'config_invalid',
    message: expect.stringContaining(`Cannot read ${tlsCert}`),
  });
});

it('an edge that drains serves, and is not ready any more', async () => {
  const { cert, key } = await (await createCa('web')).issue({ san: [{ type: 'dns', value: 'localhost' }] });
  const [tlsCert, tlsKey] = [join(dir, 'own.crt'), join(dir, 'own.key')];
  writeFileSync(tlsCert, cert);
  writeFileSync(tlsKey, key, { mode: 0o600 });
  const port = await freePort();
  const given = parts();
  given.directory.apply({ type: 'snapshot', sessions: [], roots: [] });
  const edge = await runEdge({ ...given, tlsCert, tlsKey, operatorListen: { host: '127.0.0.1', port } });
  const statusOf = async (path: string) => (await fetch(`http://127.0.0.1:${port}${path}`)).status;
  expect(await statusOf('/readyz')).toBe(200);
  const drained = edge.drain(600_000);
  expect([await statusOf('/readyz'), await statusOf('/healthz')]).toEqual([503, 200]);
  await drained;
  await edge.close();
});

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  return port;
}
