/**
 * Requests of many programs share the HTTP/2 connections inside a workspace's tunnels. Sidecars end a connection on which most requests
 * are given up, or too many in a second: that of one program must not be felt by another.
 */
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Callers, openCallers } from '../callers/call-from.ts';
import type { GivenUp } from './given-up/main.ts';

const PROGRAM = fileURLToPath(new URL('./given-up/main.ts', import.meta.url));
/** Many more than a sidecar accepts on one connection: half of 500. */
const GIVEN_UP = 1_500;

let callers: Callers;

beforeAll(async () => {
  callers = await openCallers(['codespace']);
});
afterAll(() => callers?.close());

it('abandoned requests of one program fail no request of another', { timeout: 120_000 }, async () => {
  const argv = ['node', PROGRAM, 'echo.shop', '8080', String(GIVEN_UP)];
  const { stdout, stderr } = await callers.lab.exec(callers.host('codespace'), argv);
  expect(stdout, stderr).toMatch(/^\{/);
  const { givenUp, answered, lost }: GivenUp = JSON.parse(stdout);
  expect(lost).toEqual([]);
  expect(givenUp).toBeGreaterThanOrEqual(GIVEN_UP);
  expect(answered).toBeGreaterThan(0);
});
