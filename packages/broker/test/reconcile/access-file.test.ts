import { appendFileSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, it, vi } from 'vitest';
import { openAccessFile } from '../../src/mesh/reconcile/access-file.ts';

afterEach(() => {
  vi.useRealTimers();
});

const HALF = `trust: {codespaces: {organization: acme}}
grants:
  dev: {who: [{user: ann}], to: [{service: orders.shop, port: 80}]}
`;

function open() {
  vi.useFakeTimers();
  const path = join(mkdtempSync(join(tmpdir(), 'meshpass-access-')), 'access.yaml');
  writeFileSync(path, HALF);
  const files: string[] = [];
  const refusals: string[] = [];
  const onFile = (_: unknown, { files: texts }: { readonly files: Readonly<Record<string, string>> }) =>
    void files.push(Object.values(texts).join());
  const file = openAccessFile({ path, onFile, onRefused: ({ code }) => void refusals.push(code) });
  return { path, file, files, refusals };
}

it('reports no half of a file that is being written', async () => {
  const { path, file, files, refusals } = open();
  await vi.advanceTimersByTimeAsync(0);
  writeFileSync(path, `# changed\n${HALF}`);
  await vi.advanceTimersByTimeAsync(50);
  appendFileSync(path, '  other: {who: [{user: eve}], to: [{service: orders.shop, port: 80}]}\n');
  await vi.advanceTimersByTimeAsync(2_000);
  expect(files).toEqual([HALF, expect.stringMatching(/^# changed\n[\s\S]+eve/)]);
  expect(refusals).toEqual([]);
  file.close();
});

it('reports a refused file once, and the next one that is accepted', async () => {
  const { path, file, files, refusals } = open();
  await vi.advanceTimersByTimeAsync(0);
  writeFileSync(path, 'grants: [');
  await vi.advanceTimersByTimeAsync(5_000);
  expect(refusals).toHaveLength(1);
  writeFileSync(path, `${HALF}# more\n`);
  await vi.advanceTimersByTimeAsync(1_100);
  expect(files).toEqual([HALF, `${HALF}# more\n`]);
  file.close();
});
