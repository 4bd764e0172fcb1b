/** Flags whose errors appear late: the process reports them and ends, although parts of a broker may already run. */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, it } from 'vitest';

const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
const dir = mkdtempSync(join(tmpdir(), 'meshpass-serve-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** Address without a listener. */
const KUBECONFIG = {
  apiVersion: 'v1',
  kind: 'Config',
  'current-context': 'x',
  clusters: [{ name: 'x', cluster: { server: 'https://127.0.0.1:1', 'insecure-skip-tls-verify': true } }],
  users: [{ name: 'x', user: { token: 'x' } }],
  contexts: [{ name: 'x', context: { cluster: 'x', user: 'x' } }],
};

function file(name: string, text: string): string {
  const path = join(dir, name);
  writeFileSync(path, text, { mode: 0o600 });
  return path;
}

it.each([
  ['--active-label=bad', '--active-label must be NAMESPACE/NAME, not "bad". [usage]'],
  ['--github-app=1', '--github-app and --github-app-key must be used together. [usage]'],
  [
    `--approval-webhook-keys=${join(dir, 'not-there')}`,
    `--approval-webhook-keys: ${join(dir, 'not-there')} is not a directory. [config_invalid]`,
  ],
  [
    '--kubernetes-audience=',
    'The mesh configuration is invalid at kubernetesAudience: must not be empty. [config_invalid]',
  ],
  ['--edge-listen=127.0.0.1:0', '--edge-listen requires --edge-tls-cert, --edge-tls-key and --mesh-gateway. [usage]'],
])('a broker with %s ends with the reason', async (flag, reason) => {
  const access = file('access.yaml', 'trust: {codespaces: {organization: acme}}\ngrants: {}\n');
  const flags = [
    ...['--access', access, '--public-url', 'https://broker.example.com', '--listen', '127.0.0.1:0'],
    ...['--operator-listen', '127.0.0.1:0', '--edge-public', 'edge.example.com:443', '--data', join(dir, 'data')],
    ...['--tls-cert', file('tls.crt', 'never looked at'), '--tls-key', file('tls.key', 'never looked at')],
    ...['--kubeconfig', file('kubeconfig', JSON.stringify(KUBECONFIG)), flag],
  ];
  const child = spawn(process.execPath, [MAIN, 'serve', ...flags], { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => (said += chunk));
  const code = await new Promise((resolve) => child.once('close', resolve));
  expect([code, said.trim().split('\n').at(-1)]).toEqual([2, `meshpass: ${reason}`]);
});
