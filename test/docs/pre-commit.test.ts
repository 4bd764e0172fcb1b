/** The definition of the pre-commit hook, run as pre-commit runs it. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, onTestFinished, test } from 'vitest';
import { parse } from 'yaml';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const MAIN = join(ROOT, 'packages/cli/src/main.ts');
const [hook] = parse(readFileSync(join(ROOT, '.pre-commit-hooks.yaml'), 'utf8'));

test('the hook lints the working directory, and fails for an open test route', () => {
  const home = mkdtempSync(join(tmpdir(), 'pre-commit-'));
  onTestFinished(() => rmSync(home, { recursive: true }));
  const run = () => {
    const [program, ...words] = [...hook.entry.split(' '), ...hook.args];
    expect(program).toBe('meshpass');
    return spawnSync(process.execPath, [MAIN, ...words], { cwd: home, encoding: 'utf8' });
  };
  const manifest = (host: string) => `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: orders, namespace: shop}
spec: {hosts: [${host}], gateways: [istio-ingress/public], http: [{route: [{destination: {host: orders}}]}]}
`;
  writeFileSync(join(home, 'route.yaml'), manifest('shop.example.com'));
  expect(run().status).toBe(0);
  writeFileSync(join(home, 'route.yaml'), manifest('test.shop.example.com'));
  const found = run();
  expect([found.status, found.stdout]).toEqual([1, expect.stringContaining('MP101 open-test-route')]);
  expect(hook.pass_filenames).toBe(false);
});
