/** Requests on the control socket from a `meshpass` of another version. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { sendControlRequest, serveControl } from '../../src/control/control.ts';
import type { ControlRequest } from '../../src/control-request.ts';

let directory: string;
let asked: ControlRequest[];
let control: { close(): void };
beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'meshpass-control-'));
  asked = [];
  control = await serveControl(directory, async (request) => {
    asked.push(request);
    return {};
  });
});
afterEach(() => {
  control.close();
  rmSync(directory, { recursive: true });
});

it.each([
  ['an unknown command', { command: 'dance' }],
  ["an older version's change of an approval", { command: 'approvals', approvals: { act: 'ask', order: {} } }],
  ['a change at another route', { command: 'approvals-change', path: '/session', body: {} }],
])('rejects %s instead of running another command', async (_, request) => {
  const answer = sendControlRequest(directory, request as unknown as ControlRequest);
  await expect(answer).rejects.toMatchObject({ code: 'usage' });
  await expect(answer).rejects.toThrow(/does not support this command/);
  expect(asked).toEqual([]);
});

it('lists approvals with and without a scope', async () => {
  await sendControlRequest(directory, { command: 'approvals' });
  await sendControlRequest(directory, { command: 'approvals', scope: undefined });
  await sendControlRequest(directory, { command: 'approvals', scope: 'own' });
  expect(asked).toEqual([{ command: 'approvals' }, { command: 'approvals' }, { command: 'approvals', scope: 'own' }]);
});
