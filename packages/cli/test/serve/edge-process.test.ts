/** The key of the edge's certificate, as the process takes it. */
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createDirectory, SILENT } from '@meshpass/edge';
import { afterAll, expect, it } from 'vitest';
import { runEdge } from '../../src/serve/edge-process.ts';

const dir = mkdtempSync(join(tmpdir(), 'meshpass-edge-process-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

it.each([0o604, 0o640, 0o644])('an edge does not start with a key of mode %o', async (mode) => {
  const [tlsCert, tlsKey] = [join(dir, 'tls.crt'), join(dir, 'tls.key')];
  for (const file of [tlsCert, tlsKey]) writeFileSync(file, 'never looked at');
  chmodSync(tlsKey, mode);
  const address = { host: '127.0.0.1', port: 0 };
  const edge = runEdge({
    ...{
      listen: address,
      gateway: address,
      tlsCert,
      tlsKey,
      directory: createDirectory({ clock: Date.now }),
      report: () => {},
      control: { renew: async () => [], configuration: async () => Buffer.alloc(0) },
    },
    log: SILENT,
  });
  await expect(edge).rejects.toMatchObject({ code: 'config_invalid', message: expect.stringContaining(tlsKey) });
});
