/** `meshpass explain` of a call that a sign-in would open. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { serveControl } from '@meshpass/agent/control/control';
import type { ControlRequest } from '@meshpass/agent/control-request';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { run } from '../../src/program.ts';
import { known, service } from './known.ts';

const URL = 'http://orders.shop:8080/whoami';
const DEV = service({ allow: ['GET /orders/*'] });

let directory: string;
let control: { close(): void } | undefined;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'meshpass-explain-'));
  vi.stubEnv('MESHPASS_RUNTIME_DIR', directory);
});
afterEach(() => {
  control?.close();
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
  rmSync(directory, { recursive: true });
});

async function explain(answer: (request: ControlRequest) => unknown, ...words: string[]) {
  control = await serveControl(directory, async (request) => {
    if (request.command === 'explain') return known([DEV]);
    if (request.command === 'approvals') return { requestable: [], own: [], to_answer: [] };
    return answer(request);
  });
  const out: string[] = [];
  vi.spyOn(console, 'log').mockImplementation((line: string) => void out.push(line));
  const code = await run(['node', 'meshpass', 'explain', ...words]);
  return { code, out: out.join('\n') };
}

const lacking = ({ command }: ControlRequest) =>
  command === 'sign-in-lacking' ? { lacking: [{ grant: 'prod', issuer: 'okta' }] } : undefined;

it('names the grants that lack a sign-in, and the command', async () => {
  const { code, out } = await explain(lacking, URL);
  expect(code).toBe(1);
  expect(out).toMatch(
    /Grants you would have with a sign-in:\n {2}prod requires a sign-in at okta: meshpass sign-in --issuer okta$/,
  );
});

it('has them as JSON', async () => {
  const { out } = await explain(lacking, URL, '--output', 'json');
  expect(JSON.parse(out)).toMatchObject({ lacking_sign_ins: [{ grant: 'prod', issuer: 'okta' }] });
});

it('omits them if the agent does not know', async () => {
  const { code, out } = await explain(() => {
    throw new Error('unknown');
  }, URL);
  expect(code).toBe(1);
  expect(out).not.toContain('sign-in');
});
