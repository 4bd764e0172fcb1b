/** A line with a delay in front of a host. */
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Lab, upLab } from '../src/index.ts';

const CONNECT = fileURLToPath(new URL('connect-times.ts', import.meta.url));
/** Nothing listens there: the refusal takes one round trip as well. */
const REFUSED = ['broker.meshpass.test', '9'] as const;

let lab: Lab;
beforeAll(async () => {
  lab = await upLab({ name: 'labline' });
});
afterAll(() => lab?.down());

/** Milliseconds, the shortest first. */
async function roundTrips(count: number): Promise<readonly number[]> {
  const { stdout, stderr } = await lab.exec('workspace', ['node', CONNECT, ...REFUSED, String(count)]);
  expect(stderr).toBe('');
  return JSON.parse(stdout) as number[];
}

it('makes a round trip as long as requested, on its host, until it is removed', async () => {
  await lab.delay('workspace', { roundTripMs: 300 });
  const delayed = await roundTrips(11);
  expect(delayed[0]).toBeGreaterThanOrEqual(300);
  expect(lab.running('delay-line-workspace')).toBe(true);
  await lab.delay('workspace');
  const direct = await roundTrips(11);
  expect(direct[0]).toBeLessThan(300);
  expect(lab.units()).not.toContain('delay-line-workspace');
});

it('loses frames, and connections still arrive', async () => {
  // A lost SYN is sent again after a second, then after two, four, ... (RFC 6298): of connections at once, few wait longer.
  await lab.delay('workspace', { roundTripMs: 2, lossPercent: 10 });
  const lossy = await roundTrips(60);
  expect(lossy.filter((ms) => ms >= 1000)).not.toEqual([]);
  expect(lossy).toHaveLength(60);
  await lab.delay('workspace');
});

it('replaces the previous line', async () => {
  await lab.delay('workspace', { roundTripMs: 500 });
  await lab.delay('workspace', { roundTripMs: 10 });
  const [shortest] = await roundTrips(11);
  expect(shortest).toBeGreaterThanOrEqual(10);
  expect(shortest).toBeLessThan(500);
  await lab.delay('workspace');
});

it("keeps the limits on the host's reach", async () => {
  await lab.delay('workspace', { roundTripMs: 2 });
  const cluster = lab.hosts.meshpass!.ip;
  const route = ['ip', 'route', 'add', cluster, 'via', '203.0.113.1'];
  expect(await lab.exec('workspace', route)).toMatchObject({ code: 0 });
  const listening = lab.spawn('meshpass', [
    'node',
    '-e',
    `require('net').createServer().listen(9, () => console.log(1))`,
  ]);
  await new Promise((resolve) => listening.stdout?.once('data', resolve));
  expect(await lab.exec('workspace', ['curl', '-s', '-m', '2', `http://${cluster}:9/`])).toMatchObject({ code: 28 });
  listening.kill();
  await lab.exec('workspace', ['ip', 'route', 'del', cluster]);
  await lab.delay('workspace');
});

it('is refused for a delay or a loss that no line has', async () => {
  await expect(lab.delay('workspace', { roundTripMs: -1 })).rejects.toMatchObject({ code: 'lab_usage' });
  await expect(lab.delay('workspace', { roundTripMs: Number.NaN })).rejects.toMatchObject({ code: 'lab_usage' });
  await expect(lab.delay('workspace', { roundTripMs: 1, lossPercent: 100 })).rejects.toMatchObject({
    code: 'lab_usage',
  });
});
