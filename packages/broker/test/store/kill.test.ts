import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { Agent } from 'node:https';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { sha256Hex } from '@meshpass/identity';
import { expect, it } from 'vitest';
import { readStore } from '../harness/audit.ts';
import { dpop, EXCHANGE, FORM, form, ID_TOKEN, newKey, send } from '../harness/broker.ts';
import type { Serving } from '../harness/serve-until-killed.ts';

it('a killed broker has lost no session and no audit row that it answered for', async () => {
  const script = fileURLToPath(new URL('../harness/serve-until-killed.ts', import.meta.url));
  const child = spawn(process.execPath, [script], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [line] = (await once(createInterface(child.stdout), 'line')) as [string];
  const { port, dir, ca, clockAhead, proofs } = JSON.parse(line) as Serving;
  const agent = new Agent({ ca, keepAlive: true, maxSockets: 16 });
  const key = newKey();
  const acknowledged: { id: string; token: string }[] = [];
  const enrolments = proofs.map(async (proof) => {
    const now = Math.floor((Date.now() + clockAhead) / 1000);
    const headers = { ...FORM, dpop: dpop({ key, now }) };
    const body = form({ grant_type: EXCHANGE, subject_token: proof, subject_token_type: ID_TOKEN });
    const { status, json } = await send(agent, port, { method: 'POST', path: '/token', headers, body });
    if (status === 200) acknowledged.push({ id: json.session.id, token: json.access_token });
    if (acknowledged.length === 200) child.kill('SIGKILL');
  });
  await Promise.allSettled(enrolments);
  agent.destroy();
  expect(acknowledged.length).toBeGreaterThanOrEqual(200);
  expect(acknowledged.length).toBeLessThan(proofs.length);

  const { audit, sessions } = await readStore({ dataDir: join(dir, 'data') });
  const hashes = new Map(sessions.map((session) => [session.id, session.token_hash]));
  const opened = new Set(audit.filter((row) => row.action === 'session.open').map((row) => row.session_id));
  expect(acknowledged.filter(({ id, token }) => hashes.get(id) !== sha256Hex(token))).toEqual([]);
  expect(acknowledged.filter(({ id }) => !opened.has(id))).toEqual([]);
  expect(sessions.filter(({ id }) => !opened.has(id))).toEqual([]);
  rmSync(dir, { recursive: true, force: true });
});
