/**
 * A random mixed load gets no answer that is not its own, and nothing hangs. A short one here; `npm run mixed-load` has the long one.
 *
 * MESHPASS_MIXED_SEED and MESHPASS_MIXED_REQUESTS select another.
 */
import { randomInt } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Callers, openCallers } from '../callers/call-from.ts';
import type { Side } from '../callers/calls.ts';
import type { Report } from './mixed-load/tally.ts';

const PROGRAM = fileURLToPath(new URL('./mixed-load/main.ts', import.meta.url));
const SEED = Number(process.env.MESHPASS_MIXED_SEED ?? randomInt(1_000_000));
/** `npm run mixed-load` sets MESHPASS_MIXED_SIDES to both. */
const SIDES = (process.env.MESHPASS_MIXED_SIDES?.split(',') ?? ['pod']) as readonly Side[];
const REQUESTS = Number(process.env.MESHPASS_MIXED_REQUESTS ?? 4_000);

let callers: Callers;

beforeAll(async () => {
  callers = await openCallers(SIDES);
});
afterAll(() => callers?.close());

it.each(SIDES)('a random mixed load from a %s', { timeout: 1_800_000 }, async (side) => {
  const argv = ['node', PROGRAM, 'echo.shop', '8080', String(SEED), String(REQUESTS)];
  const { stdout, stderr } = await callers.lab.exec(callers.host(side), argv);
  expect(stdout, stderr).toMatch(/^\{/);
  const report: Report = JSON.parse(stdout);
  console.log(`mixed load from a ${side}, seed ${SEED}: ${stdout}`);
  const { wrong, lost, hung, late, unanswered, answered } = report;
  expect({ wrong, lost, hung }, `seed ${SEED}`).toEqual({ wrong: [], lost: [], hung: [] });
  // A pod's connections are redirected by iptables: of very many that are opened, the kernel may take seconds for one. And its sidecar
  // may close a connection on which it has answered.
  if (side === 'codespace') expect({ late, unanswered }, `seed ${SEED}`).toEqual({ late: [], unanswered: 0 });
  expect(answered).toBeGreaterThan(REQUESTS / 2);
});
