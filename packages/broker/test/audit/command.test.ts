/** The whole way: a broker, its operator listener, and the command as an operator runs it. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { SessionFile } from '@meshpass/cli/login/session-file';
import { afterAll, beforeAll, expect, it } from 'vitest';
import {
  asSession,
  type Enrolled,
  type Harness,
  OPERATOR_TOKEN,
  PUBLIC_URL,
  session,
  startHarness,
} from '../harness/broker.ts';
import { grant } from '../harness/mesh.ts';
import { asOperator, operatorsByGroup, signIn } from '../harness/operators.ts';

const MAIN = fileURLToPath(new URL('../../../cli/src/main.ts', import.meta.url));
const SLOW = 60_000;
const DAY_MS = 86_400_000;

let harness: Harness;
let alice: Enrolled;
let tokenFile: string;
beforeAll(async () => {
  harness = await startHarness();
  harness.mesh.setAccess([grant('dev')]);
  harness.mesh.setOperators(operatorsByGroup());
  tokenFile = join(harness.dir, 'operator-token');
  alice = await session(harness, 'alice');
  await asSession(harness, alice, { method: 'DELETE', path: '/session' });
}, SLOW);
afterAll(() => harness?.stop());

async function audit(...args: string[]) {
  return await meshpass(['audit', ...args, '--operator-token', tokenFile]);
}

/** Acts as a signed-in security officer: the operator token does not prune. */
async function prune(...args: string[]) {
  const { key, token } = await signIn(harness, 'olga', ['security-officer']);
  const environment = { MESHPASS_STATE_DIR: join(harness.dir, 'state') };
  const expiresAt = Math.floor(Date.now() / 1000) + 600;
  const signedIn = { broker: PUBLIC_URL, token, key: key.privateKey, expiresAt, confirmUntil: expiresAt };
  new SessionFile(operator(), environment).write(signedIn);
  return await meshpass(['audit', 'prune', '--reason', 'kept long enough', ...args], environment);
}

const operator = () => `http://127.0.0.1:${harness.broker.operatorPort}`;

async function meshpass(words: readonly string[], environment: Record<string, string> = {}) {
  const env = { ...process.env, ...environment };
  const child = spawn(process.execPath, [MAIN, ...words, '--operator', operator()], { env });
  let out = '';
  let err = '';
  child.stdout.on('data', (chunk: Buffer) => (out += chunk));
  child.stderr.on('data', (chunk: Buffer) => (err += chunk));
  const [code] = (await once(child, 'close')) as [number];
  return { code, out, err };
}

it(
  "verifies the broker's log, an export of it, and holds both against a checkpoint and a key that were kept",
  async () => {
    const [key, checkpoint] = [join(harness.dir, 'key'), join(harness.dir, 'checkpoint')];
    writeFileSync(key, (await audit('key')).out);
    writeFileSync(checkpoint, (await audit('checkpoint')).out);
    expect(readFileSync(checkpoint, 'utf8')).toMatch(
      /^broker\.example\/audit\n\d+\n\S+=\n\n— broker\.example\/audit \S+\n$/,
    );
    const known = ['--key', key, '--checkpoint', checkpoint];
    const online = await audit('verify', ...known);
    expect(online).toMatchObject({ code: 0, err: '' });
    expect(online.out).toMatch(/^The log verifies: \d+ rows.*Signed by the key that you passed/s);

    const file = join(harness.dir, 'export.jsonl');
    expect(await audit('export', '--to', file)).toMatchObject({ code: 0, err: '' });
    expect(JSON.parse((await audit('verify', '--file', file, ...known, '--output', 'json')).out)).toMatchObject({
      ok: true,
      keysPinned: true,
      problems: [],
    });

    const text = readFileSync(file, 'utf8');
    writeFileSync(file, text.replace('"login":"alice"', '"login":"mallory"'));
    const tampered = await audit('verify', '--file', file, ...known);
    expect(tampered.code).toBe(1);
    expect(tampered.out).toMatch(/DOES NOT VERIFY: 1 finding.*changed +Row \d+ was changed/s);
    // It does not replace an existing file.
    expect(await audit('export', '--to', file)).toMatchObject({ code: 2 });
  },
  SLOW,
);

it(
  'shows who, what, why, which rule, session, proof and source of every decision',
  async () => {
    const { out } = await audit('tail', '--output', 'json', '--session', alice.session.id);
    const rows = out
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(rows.map((row) => row.action)).toEqual(['session.open', 'session.close']);
    expect(rows[0]).toMatchObject({
      login: 'alice',
      outcome: 'allowed',
      grant_name: 'dev',
      rule: 'dev access.yaml:1:1',
      source: '127.0.0.1',
      session_id: alice.session.id,
      proof_hash: expect.stringMatching(/^[0-9a-f]{64}$/),
    });
    expect((await audit('tail', '--lines', '2')).out.trim().split('\n')).toHaveLength(2);
  },
  SLOW,
);

it(
  'exports OCSF',
  async () => {
    const { out } = await audit('export', '--form', 'ocsf');
    const classes = out
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line).class_uid);
    expect(classes).toEqual(expect.arrayContaining([3002, 3003, 6002]));
  },
  SLOW,
);

it(
  'goes over a restart, and prunes',
  async () => {
    await harness.restart();
    expect((await audit('verify')).code).toBe(0);
    expect((await prune('--before', '2026-01-01')).err).toContain('--yes');
    const now = () => Date.now() + harness.clockAhead;
    const early = await prune('--before', new Date(now() - 89 * DAY_MS).toISOString(), '--yes');
    expect(early).toMatchObject({ code: 1, out: '', err: expect.stringContaining('[audit_retained]') });
    harness.clockAhead += 91 * DAY_MS;
    const date = new Date(now() - 90 * DAY_MS - 1).toISOString();
    const officer = await signIn(harness, 'olga', ['security-officer']);
    const body = JSON.stringify({ before: date, reason: 'kept long enough' });
    const pruned = (await asOperator(harness, officer, { method: 'POST', path: '/audit/prune', body })).json;
    expect(pruned.rows).toBeGreaterThan(2);
    const report = JSON.parse((await audit('verify', '--output', 'json')).out);
    expect(report).toMatchObject({ ok: true, prunedUpTo: pruned.size, first: pruned.size + 1 });
    const { out } = await audit('tail', '--output', 'json');
    expect(out).toContain('"action":"audit.prune","outcome":"allowed"');
  },
  SLOW,
);

it(
  'is for operators only, and logs who tried',
  async () => {
    const url = `http://127.0.0.1:${harness.broker.operatorPort}`;
    for (const path of ['/audit', '/audit/export', '/audit/checkpoint', '/audit/key'])
      expect((await fetch(url + path)).status, path).toBe(401);
    const body = JSON.stringify({ before: '2026-01-01T00:00:00Z' });
    expect((await fetch(`${url}/audit/prune`, { method: 'POST', body })).status).toBe(401);
    const headers = { authorization: `Bearer ${OPERATOR_TOKEN}` };
    const { rows } = (await (await fetch(`${url}/audit?last=6`, { headers })).json()) as { rows: { action: string }[] };
    // After the days that the test before let pass, the signing key is due at any moment.
    const tried = rows.filter(({ action }) => action !== 'key.rotate').slice(-5);
    expect(tried.map(({ action }) => action)).toEqual([...Array(4).fill('operator.list'), 'audit.prune']);
    for (const row of tried) expect(row).toMatchObject({ outcome: 'refused', code: 'operator_unauthorized' });
  },
  SLOW,
);
