/** Files and values that cannot be used: one line that names the cause and the flag, before anything is attempted. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { run } from '../../src/program.ts';

const ACCESS = `
trust: {codespaces: {organization: acme}}
grants:
  dev:
    who: [{team: acme/payments, repository: acme/payments}]
    to: [{service: orders.shop, port: 8080, allow: [GET /orders/1]}]
`;

let folder: string;
let out: string[] = [];
let errors: string[] = [];

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'meshpass-input-'));
  writeFileSync(join(folder, 'mesh.yaml'), '{apiVersion: v1, kind: Namespace, metadata: {name: shop}}\n');
  writeFileSync(join(folder, 'access.yaml'), ACCESS);
  writeFileSync(join(folder, 'drill.jws'), 'not evidence');
});
afterAll(() => rmSync(folder, { recursive: true }));
beforeEach(() => {
  [out, errors] = [[], []];
  vi.spyOn(console, 'log').mockImplementation((text: string) => void out.push(text));
  vi.spyOn(console, 'error').mockImplementation((text: string) => void errors.push(text));
  vi.stubEnv('MESHPASS_BROKER', undefined);
});
afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllEnvs();
  process.exitCode = undefined;
});

/** Calls the program; `@name` becomes a path in the folder. */
const call = (...words: string[]) =>
  run(['node', 'meshpass', ...words.map((word) => word.replace(/^@/, `${folder}/`))]);

describe('a file that cannot be read', () => {
  it.each([
    ['audit verify --file /nope', '--file: cannot read /nope: it does not exist. [usage]'],
    ['audit verify --file /', '--file: cannot read /: it is a directory. [usage]'],
    ['audit verify --checkpoint /nope', '--checkpoint: cannot read /nope: it does not exist. [usage]'],
    ['drill --verify /nope', '--verify: cannot read /nope: it does not exist. [config_invalid]'],
    ['drill --verify @drill.jws --jwks /nope', '--jwks: cannot read /nope: it does not exist. [config_invalid]'],
    [
      'doctor --broker https://b.invalid --ca-file /nope',
      '--ca-file: cannot read /nope: it does not exist. [config_invalid]',
    ],
    [
      'policy plan --access /nope --public-url https://b.invalid @mesh.yaml',
      '--access: cannot read /nope: it does not exist. [config_invalid]',
    ],
    [
      'policy apply --access /nope --broker https://b.invalid',
      '--access: cannot read /nope: it does not exist. [config_invalid]',
    ],
    ['access check /nope', 'Cannot read /nope: it does not exist. [usage]'],
    ['access check /', 'Cannot read /: it is a directory. [usage]'],
    ['policy lint /nope', 'Cannot read /nope: it does not exist. [usage]'],
    ['policy lint @mesh.yaml --access /nope', '--access: cannot read /nope: it does not exist. [usage]'],
    ['policy matrix @mesh.yaml --mesh-config /nope', '--mesh-config: cannot read /nope: it does not exist. [usage]'],
    ['policy matrix --kubeconfig /nope', '--kubeconfig: cannot read /nope: it does not exist. [config_invalid]'],
    [
      'policy test /nope --access @access.yaml --public-url https://b.invalid',
      'Cannot read /nope: it does not exist. [usage]',
    ],
  ])('%s: 2, the cause and the flag', async (line, message) => {
    expect(await call(...line.split(' '))).toBe(2);
    expect(errors).toEqual([`meshpass: ${message}`]);
  });
});

describe('a value that cannot be used', () => {
  it.each(['foo', '10.0.0.0/8', '10.0.0.256', 'fe80::1%eth0'])('--source-ip %s is refused', async (address) => {
    const question = ['--to', 'orders.shop:80', '--as', 'dev/web', '--source-ip', address, '@mesh.yaml'];
    expect(await call('policy', 'can-i', ...question)).toBe(2);
    expect(errors).toEqual([`meshpass: --source-ip must be an IPv4 or IPv6 address, not "${address}". [usage]`]);
    expect(await call('policy', 'who-can', 'orders.shop:80', '@mesh.yaml', '--source-ip', address)).toBe(2);
  });

  it('an agent that does not run is reported with its directory, which another user or environment may have elsewhere', async () => {
    vi.stubEnv('MESHPASS_RUNTIME_DIR', join(folder, 'nobody'));
    expect(await call('status')).toBe(3);
    expect(errors).toEqual([
      `meshpass: No agent is running in ${folder}/nobody. Run meshpass up to start one. [agent_not_running]\nsee https://meshpass.dev/docs/troubleshooting#agent_not_running`,
    ]);
  });

  it.each(['--method POST', '--header a:b'])(
    'explain --last refuses %s, which may differ from the refused call',
    async (flag) => {
      expect(await call('explain', '--last', ...flag.split(' '))).toBe(2);
      expect(errors.join()).toMatch(/Pass a URL for a different call\. \[usage\]$/);
    },
  );

  it('who-can explains that the target comes first', async () => {
    expect(await call('policy', 'who-can', '@mesh.yaml', 'orders.shop:80')).toBe(2);
    expect(errors).toEqual([
      `meshpass: Expected HOST:PORT before the files, but ${folder}/mesh.yaml is a file. [usage]`,
    ]);
  });

  it('doctor refuses a broker without TLS before any check', async () => {
    expect(await call('doctor', '--broker', 'http://x')).toBe(2);
    expect(errors).toEqual(['meshpass: --broker must be an https:// URL, not http://x. [usage]']);
    expect(out).toEqual([]);
  });

  it('drill --verify without keys names both places to get them', async () => {
    expect(await call('drill', '--verify', '@drill.jws')).toBe(2);
    expect(errors[0]).toMatch(/--jwks FILE \(offline\), or --broker https:/);
  });
});

it('access check does not claim that services were checked', async () => {
  expect(await call('access', 'check', '@access.yaml')).toBe(0);
  expect(out).toEqual([
    `${folder}/access.yaml is well-formed: 1 grant. Services and roles in the cluster were not checked; meshpass policy plan does that.`,
  ]);
});

it('access check names the line of a key of earlier versions, and what replaces it', async () => {
  writeFileSync(join(folder, 'former.yaml'), `operators:\n  secondPerson: [audit.prune]\n${ACCESS}`);
  expect(await call('access', 'check', '@former.yaml')).toBe(1);
  expect(errors).toEqual([
    expect.stringMatching(
      /former\.yaml:2:3 "secondPerson" was removed in favor of review in Git: .*access_file_unknown_key/,
    ),
  ]);
});

describe('access check with the bounds of the chart', () => {
  const forbidden = (what: string) =>
    expect.stringContaining(
      `access.yaml:6:10 access files may not grant ${what} here: the chart's admission.services lists `,
    );

  it.each([['orders.shop'], ['*.shop'], ['ord*.*']])('accepts services that %s covers', async (services) => {
    expect(await call('access', 'check', '@access.yaml', '--services', 'ledger.bank', '--services', services)).toBe(0);
  });

  it.each([['orders.shop2'], ['orders'], ['.*.shop'], ['orders.sho?']])(
    'refuses services that %s does not cover',
    async (services) => {
      expect(await call('access', 'check', '@access.yaml', '--services', services)).toBe(1);
      expect(errors).toEqual([forbidden('orders.shop')]);
    },
  );
});

describe('the id of a request for approval, or a port', () => {
  const id = '0123456789abcdef01234567';
  it.each([
    [
      ['approve', '5f0c...'],
      '"5f0c..." is not a request ID (24 characters). Run meshpass requests to list the IDs. [usage]',
    ],
    [
      ['deny', 'x', '--reason', 'no'],
      '"x" is not a request ID (24 characters). Run meshpass requests to list the IDs. [usage]',
    ],
    [
      ['requests', '--withdraw', 'x'],
      '"x" is not a request ID (24 characters). Run meshpass requests to list the IDs. [usage]',
    ],
    [
      ['approvals', 'show', 'x'],
      '"x" is not a request ID (24 characters). Run meshpass approvals list to list the IDs. [usage]',
    ],
    [['approvals', 'revoke', id, '--reason', ' '], '--reason must not be empty. [usage]'],
    [['request', 'dev', '--reason', ''], '--reason must not be empty. [usage]'],
    [['login', '--port', '99999'], '--port must be a port from 0 to 65535, not "99999". [usage]'],
  ])('%j is refused before any request is sent', async (words, message) => {
    expect(await call(...words)).toBe(2);
    expect(errors.join('\n')).toContain(message);
  });
});
