/** An edge of its own that may go without its broker for a short time only. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { enrolled, ORDERS, openRoad, type Road, until } from '../mesh.ts';

let road: Road;

beforeAll(async () => {
  road = await openRoad({ edgeApart: true, edgeFlags: ['--stale', '10'] });
});
afterAll(() => road?.close());

it('serves nobody for longer than that, and everybody again when the broker is back', async () => {
  const client = road.rogue();
  await enrolled(road, client);
  const order = { target: ORDERS, grant: 'payments-dev', edge: road.meshpass.edge };
  const served = () =>
    until(
      () => client.tunnel(order),
      (report) => report.stage === 'answer',
      60,
    );
  await served();
  await road.lab.kill('meshpass');
  const refused = await until(
    () => client.tunnel(order),
    (report) => report.stage === 'edge',
    60,
  );
  expect(refused).toMatchObject({ edgeStatus: 503, edgeCode: 'tunnel_directory_stale' });
  await road.lab.restart('meshpass');
  await served();
}, 240_000);
