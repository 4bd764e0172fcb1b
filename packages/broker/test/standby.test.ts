/** What the operator listener of a broker that waits tells probes. */
import { afterEach, expect, it } from 'vitest';
import { startStandby } from '../src/start/standby.ts';
import { createLog } from '../src/telemetry/log.ts';
import { createMetrics } from '../src/telemetry/metrics.ts';
import { playMesh } from './harness/mesh.ts';

const open: { stop: (patienceMs: number) => Promise<void> }[] = [];
afterEach(async () => {
  for (const one of open.splice(0)) await one.stop(0);
});

async function standby() {
  const mesh = playMesh();
  const base = {
    config: { operator: { host: '127.0.0.1', port: 0 } },
    ...{ given: { mesh }, metrics: createMetrics(), log: createLog('broker', 'silent') },
  };
  const { operator, waitFor } = await startStandby(base as never);
  open.push(operator);
  const ask = (query: string) => fetch(`http://127.0.0.1:${operator.port}/readyz${query}`);
  const status = async (query: string) => (await ask(query)).status;
  const reasons = async () => ((await (await ask('')).json()) as { reasons: string[] }).reasons;
  return { mesh, waitFor, status, reasons };
}

it('is well while another broker is active, and ready for none', async () => {
  const { waitFor, status } = await standby();
  expect(await status('?standby=ready')).toBe(503);
  waitFor('standing by: another is active', {}, { isPlanned: false });
  expect([await status('?standby=ready'), await status('')]).toEqual([200, 503]);
  waitFor('standing by: the store does not answer', {});
  expect(await status('?standby=ready')).toBe(503);
});

it('is not well while it cannot see the cluster: an update must not go on to the broker that can', async () => {
  const { mesh, waitFor, status } = await standby();
  waitFor('standing by: another is active', {}, { isPlanned: false });
  mesh.notReady = ['the cluster has not been listed yet'];
  expect(await status('?standby=ready')).toBe(503);
  mesh.notReady = [];
  expect(await status('?standby=ready')).toBe(200);
});

it('is not well while its access file cannot come into force, unless it would go on with one that was applied by plan', async () => {
  const { mesh, waitFor, status } = await standby();
  mesh.badFile = 'access.yaml:4:5 there is no Service orders in shop';
  waitFor('standing by: another is active', {}, { isPlanned: false });
  expect(await status('?standby=ready')).toBe(503);
  waitFor('standing by: another is active', {}, { isPlanned: true });
  expect(await status('?standby=ready')).toBe(200);
});

it('is not well while it refuses the file that it would go on with, and says why', async () => {
  const { mesh, waitFor, status, reasons } = await standby();
  mesh.badFile = 'access.yaml:4:5 there is no Service orders in shop';
  const refused = 'The access file that was applied by plan as version 7 is refused by this version of Meshpass';
  waitFor('standing by: another is active', {}, { isPlanned: true, refused });
  expect(await status('?standby=ready')).toBe(503);
  expect(await reasons()).toContain(refused);
  waitFor('standing by: another is active', {}, { isPlanned: true });
  expect(await status('?standby=ready')).toBe(200);
});
