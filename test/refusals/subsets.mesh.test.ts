/**
 * Subsets: where a DestinationRule has them, connections come by other server names, `outbound_.PORT_.SUBSET_.HOST`. Refused
 * calls are refused by each of them, at the gateway and at the workload's own sidecar, and granted calls pass.
 */
import type { TunnelReport } from '@meshpass/cli/drill/tunnel';
import type { AdversarialClient } from '@meshpass/lab/adversarial-client/drive';
import type { KubeObject } from '@meshpass/lab/kubernetes';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type DataPath, enrolled, LEDGER, ORDERS, openDataPath, until } from '../mesh.ts';

const HOST = 'orders.shop.svc.cluster.local';
const subset = (name: string, port = 8080, host = HOST) => `outbound_.${port}_.${name}_.${host}`;
const rule = (...names: string[]): KubeObject => ({
  apiVersion: 'networking.istio.io/v1',
  kind: 'DestinationRule',
  metadata: { name: 'subsets', namespace: 'shop' },
  spec: { host: HOST, subsets: names.map((name) => ({ name, labels: { app: 'orders' } })) },
});

let dataPath: DataPath;
let thief: AdversarialClient;

beforeAll(async () => {
  dataPath = await openDataPath();
  const alice = dataPath.adversary();
  await enrolled(dataPath, alice);
  thief = dataPath.adversary('github');
  await thief.take(await alice.show());
  await dataPath.lab.kubernetes.apply(rule('v1', 'v2'));
  for (const sni of [subset(''), subset('v1'), subset('v2')]) {
    await until(
      () => ask(sni, {}),
      (report) => status(report) === 200,
    );
  }
});
afterAll(async () => {
  await dataPath?.lab.kubernetes.remove(rule());
  await dataPath?.close();
});

interface Request {
  readonly method?: string;
  readonly path?: string;
  readonly token?: string | undefined;
  /** A host of the lab: straight to it, past the gateway. */
  readonly pod?: string;
}

async function ask(sni: string, { method = 'GET', path = '/orders/1', pod, ...more }: Request): Promise<TunnelReport> {
  const token = 'token' in more ? more.token : (await thief.show()).identityToken;
  const line = token === undefined ? '' : `x-meshpass-token: ${token}\r\n`;
  const send = `${method} ${path} HTTP/1.1\r\nHost: orders.shop:8080\r\ncontent-length: 0\r\n${line}\r\n`;
  const [host, port] = dataPath.lab.gatewayAddress.split(':');
  const straightTo = pod ? { host: dataPath.lab.hosts[pod]!.ip, port: 8080 } : { host: host!, port: Number(port) };
  return thief.tunnel({ target: ORDERS, grant: 'payments-dev', send, sni, straightTo });
}

function status(report: TunnelReport): number | string {
  const found = /^HTTP\/1\.1 (\d{3}) /.exec(report.answer ?? '')?.[1];
  return found ? Number(found) : report.stage;
}

const REFUSED: readonly (readonly [string, Request])[] = [
  ['a path that is not granted', { path: '/admin/customers' }],
  ['a granted path in another case', { path: '/Orders/1' }],
  ['a method that is not granted', { method: 'DELETE' }],
  ['a method of another path', { method: 'POST' }],
  ['an invented method', { method: 'PATCH', path: '/whoami' }],
  ['no identity token', { token: undefined }],
];

describe.each(['', 'v1', 'v2'])('by subset %j', (name) => {
  it.each(REFUSED)('the sidecar refuses %s', async (_, request) => {
    expect(status(await ask(subset(name), request))).toBe(403);
    expect(status(await ask(subset(name), { ...request, pod: 'orders' }))).toBe(403);
  });

  it('granted calls pass', async () => {
    expect(status(await ask(subset(name), { method: 'POST', path: '/refunds' }))).not.toBe(403);
    expect(status(await ask(subset(name), {}))).toBe(200);
  });

  it('a token of a grant that is not in it is refused, and one that does not verify', async () => {
    expect([401, 403]).toContain(status(await ask(subset(name), { token: 'garbage' })));
  });
});

describe('the guard, at a workload that the thief dials itself, refuses', () => {
  it.each([
    ['a subset of a service that is not granted', 'web', subset('v1', 80, 'web.dev.svc.cluster.local')],
    ['a subset of a port that is not granted', 'orders', subset('v1', 9090)],
    ['a host that ends alike', 'orders', subset('v1', 8080, `other-${HOST}`)],
    ['a host that has it as its end', 'orders', subset('v1', 8080, `x.${HOST}`)],
    ['a port that begins alike', 'orders', subset('v1', 80801)],
    ['a host that is longer', 'orders', `${subset('v1')}.example`],
  ])('%s', async (_, pod, sni) => {
    expect(status(await ask(sni, { pod }))).toBe(403);
  });
});

describe('a change of a DestinationRule', () => {
  // Counters only: the number of draining filter chains falls whenever an earlier drain (45 s) ends.
  const listenersOf = async (host: string): Promise<Readonly<Record<string, number>>> => {
    const { stdout } = await dataPath.lab.exec(host, [
      'curl',
      '-sS',
      'http://localhost:15000/stats?filter=listener_manager',
    ]);
    const lines = stdout.split('\n').flatMap((line) => {
      const [name = '', value] = line.split(': ');
      return /\.listener_(added|modified|in_place_updated|removed)$/.test(name) ? [[name, Number(value)] as const] : [];
    });
    return Object.fromEntries(lines);
  };

  it('changes no listener of a workload, so that no open connection is drained; the new subset is guarded at once', async () => {
    const connection = await thief.tunnel({
      target: LEDGER,
      grant: 'payments-dev',
      alpn: ['istio'],
      straightTo: { host: dataPath.lab.gatewayAddress.split(':')[0]!, port: 15443 },
    });
    expect(connection.stage).toBe('answer');
    const before = [await listenersOf('ledger-db'), await listenersOf('orders')];
    expect(Object.keys(before[0]!).length).toBeGreaterThan(3);
    await dataPath.lab.kubernetes.apply(rule('v1', 'v2', 'v3'));
    await until(
      () => ask(subset('v3'), {}),
      (report) => status(report) === 200,
    );
    expect(status(await ask(subset('v3'), { path: '/admin/customers' }))).toBe(403);
    expect([await listenersOf('ledger-db'), await listenersOf('orders')]).toEqual(before);
  });
});
