import { statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { clustersToWarm } from '../../src/xds/warm-up.ts';
import { service } from '../harness.ts';
import { echoHeads, request, world } from '../world.ts';

const OWN_ADDRESS = service().address!;

describe('tunnels opened before the first call', () => {
  test('are open and unused, and the first call uses one of them', async () => {
    const heads: string[] = [];
    const { edge, workload, runtimeDirectory } = await world({
      onConnection: (socket) => {
        socket.on('data', (data) => heads.push(data.toString('latin1')));
        echoHeads(socket);
      },
    });
    await expect.poll(() => workload.seen).toHaveLength(1);
    expect(edge.connects).toEqual(['orders.shop.svc.cluster.local:8080']);
    expect(statSync(join(runtimeDirectory, 'warm-up.sock')).mode & 0o777).toBe(0o600);
    expect(heads).toEqual([]);

    const answer = await request(OWN_ADDRESS, 8080, '/orders/1', { host: 'orders.shop:8080' });
    expect(answer.status).toBe(200);
    expect(heads.join()).toMatch(/^GET \/orders\/1 /);
    expect(edge.connects).toHaveLength(1);
  });

  test('are opened again by an Envoy that replaces another', async () => {
    const { edge, agent } = await world();
    await expect.poll(() => edge.connects).toHaveLength(1);
    process.kill((await agent.status()).envoy.pid!, 'SIGKILL');
    await expect.poll(() => edge.connects, { timeout: 20_000 }).toHaveLength(2);
    const answer = await request(OWN_ADDRESS, 8080, '/orders/1', { host: 'orders.shop:8080' });
    expect(answer.status).toBe(200);
    expect(edge.connects).toHaveLength(2);
  });

  test("are opened again with a new session's certificates after the edge cut the previous ones", async () => {
    const { broker, edge } = await world({
      adjust: (broker) => {
        broker.heartbeatSeconds = 1;
      },
    });
    await expect.poll(() => edge.connects).toHaveLength(1);
    const serials = () => [...edge.sockets].map((socket) => socket.getPeerCertificate().serialNumber);
    const [first] = serials();
    broker.sessions.clear();
    for (const socket of edge.sockets) socket.destroy();
    await expect.poll(() => edge.connects, { timeout: 20_000 }).toHaveLength(2);
    expect(serials()).toEqual([expect.any(String)]);
    expect(serials()).not.toContain(first);
    const answer = await request(OWN_ADDRESS, 8080, '/orders/1', { host: 'orders.shop:8080' });
    expect(answer.status).toBe(200);
    expect(edge.connects).toHaveLength(2);
  });

  test('are no longer used after their session has ended, even if no edge has cut them', async () => {
    const { broker, edge, workload } = await world({
      adjust: (broker) => {
        broker.heartbeatSeconds = 1;
      },
    });
    await expect.poll(() => workload.seen).toHaveLength(1);
    const [first] = [...edge.sockets];
    broker.sessions.clear();
    // As with a connection opened while Envoy received the new session's certificates: its tunnel is not cut.
    await expect.poll(() => workload.seen, { timeout: 20_000 }).toHaveLength(2);
    expect(workload.seen[1]!.peer).not.toBe(workload.seen[0]!.peer);
    const answer = await request(OWN_ADDRESS, 8080, '/orders/1', { host: 'orders.shop:8080' });
    expect(answer.status).toBe(200);
    await expect.poll(() => first!.destroyed).toBe(true);
    expect(workload.seen).toHaveLength(2);
  });

  test('are not opened for raw TCP services, which would see them as clients', async () => {
    const { edge, agent } = await world({ services: [service({ protocol: 'tcp', allow: undefined })] });
    await agent.status();
    const answer = await request(OWN_ADDRESS, 8080, '/orders/1', {});
    expect(answer.status).toBe(200);
    expect(edge.connects).toHaveLength(1);
  });
});

test('warms only the first services for which Envoy has a cluster', () => {
  const services = Array.from({ length: 500 }, (_, at) => service({ host: `svc-${at}.shop.svc.cluster.local` }));
  const clusters = new Set(services.slice(1).map(({ host }) => `payments-dev/outbound|8080||${host}`));
  expect(clustersToWarm(services, clusters)).toEqual(
    [1, 2].map((at) => `payments-dev/outbound|8080||svc-${at}.shop.svc.cluster.local`),
  );
});
