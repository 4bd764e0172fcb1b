/** Control connections of sessions that are over: none outlives its notice. */
import { once } from 'node:events';
import { connect, type TLSSocket } from 'node:tls';
import { createDirectory, startEdge } from '@meshpass/edge';
import { CONTROL_ALPN } from '@meshpass/identity/channel/frames';
import { expect, test } from 'vitest';
import { createCa, svid } from '../../packages/edge/test/mesh-ca.ts';

const ALICE = 'spiffe://cluster.local/ns/meshpass-dev/sa/alice';

test('a client that does not close its end is cut a moment after the notice', async () => {
  const [mesh, web] = await Promise.all([createCa('mesh'), createCa('web')]);
  let ahead = 0;
  const clock = () => Date.now() + ahead;
  const directory = createDirectory({ clock });
  directory.apply({ type: 'snapshot', sessions: [], roots: [mesh.root] });
  const edge = await startEdge({
    listen: { host: '127.0.0.1', port: 0 },
    tls: await web.issue({ san: [{ type: 'dns', value: 'localhost' }] }),
    gateway: { host: '127.0.0.1', port: 9 },
    directory,
    report: () => {},
    clock,
    control: { renew: async () => [], configuration: async () => Buffer.alloc(0) },
  });
  const expires_at = Math.floor(Date.now() / 1000) + 36_000;
  const principals = [{ spiffe_id: ALICE, targets: [] }];
  directory.apply({ type: 'admit', session: { id: 's1', subject: 'alice', expires_at, principals } });
  const client: TLSSocket = connect({
    ...{ host: '127.0.0.1', port: edge.address.port, servername: 'localhost', ca: web.root },
    ...{ ALPNProtocols: [CONTROL_ALPN], allowHalfOpen: true, ...(await svid(mesh, ALICE)) },
  } as never);
  client.on('error', () => {});
  await once(client, 'secureConnect');
  await expect.poll(() => edge.stats().control).toBe(1);
  client.resume();
  directory.apply({ type: 'close', id: 's1', reason: 'goodbye' });
  directory.apply({ type: 'notice', id: 's1', statement: 'over' });
  await once(client, 'end');
  expect(edge.stats()).toMatchObject({ control: 0, connections: 1 });
  ahead = 60_000;
  directory.apply({ type: 'beat' });
  try {
    await expect.poll(() => edge.stats().connections).toBe(0);
  } finally {
    client.destroy();
    await edge.close();
    directory.close();
  }
});
