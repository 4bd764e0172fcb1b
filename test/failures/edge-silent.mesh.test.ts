/** An edge of its own that may go without its broker for a short time only. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type DataPath, enrolled, ORDERS, openDataPath, until } from '../mesh.ts';

let dataPath: DataPath;

beforeAll(async () => {
  dataPath = await openDataPath({ edgeApart: true, edgeFlags: ['--stale', '10'] });
});
afterAll(() => dataPath?.close());

it('serves no session for longer than that, and every session again when the broker returns', async () => {
  const client = dataPath.adversary();
  await enrolled(dataPath, client);
  const order = { target: ORDERS, grant: 'payments-dev', edge: dataPath.meshpass.edge };
  const served = () =>
    until(
      () => client.tunnel(order),
      (report) => report.stage === 'answer',
      60,
    );
  await served();
  await dataPath.lab.kill('meshpass');
  const refused = await until(
    () => client.tunnel(order),
    (report) => report.stage === 'edge',
    60,
  );
  expect(refused).toMatchObject({ edgeStatus: 503, edgeCode: 'tunnel_directory_stale' });
  await dataPath.lab.restart('meshpass');
  await served();
}, 240_000);
