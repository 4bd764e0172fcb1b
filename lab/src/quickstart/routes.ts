/** A VirtualService of the service's own team applies to calls from the Codespace, as to those of any pod. */
import { setTimeout as sleep } from 'node:timers/promises';
import { expectThat, type Scene, typed } from './scene.ts';

const HOST = 'orders.shop.svc.cluster.local';
const PATH = '/apis/networking.istio.io/v1/namespaces/shop/virtualservices/orders';
const CALL = [
  'curl',
  '-sS',
  '-o',
  '/dev/null',
  '-w',
  '%{http_code}',
  '-H',
  'x-try: fault',
  'http://orders.shop:8080/whoami',
];
const PATIENCE_MS = 10_000;

export async function routes(scene: Scene): Promise<void> {
  const { lab, story } = scene;
  story.chapter("Istio's own rules", 'the Codespace has a sidecar that istiod configures');
  const toOrders = { route: [{ destination: { host: HOST } }] };
  const fault = { abort: { httpStatus: 418, percentage: { value: 100 } } };
  const applied = performance.now();
  await lab.kubernetes.apply({
    apiVersion: 'networking.istio.io/v1',
    kind: 'VirtualService',
    metadata: { name: 'orders', namespace: 'shop' },
    spec: {
      hosts: [HOST],
      http: [{ match: [{ headers: { 'x-try': { exact: 'fault' } } }], fault, ...toOrders }, toOrders],
    },
  });
  story.done('the team of orders.shop applies a VirtualService: requests with x-try: fault get 418');
  await until(scene, '418');
  const milliseconds = Math.round(performance.now() - applied);
  const { stdout } = await typed(scene, CALL);
  story.done(`${stdout}, from the Codespace's own Envoy; it was in force ${milliseconds} ms after it was applied`);
  await lab.kubernetes.call('DELETE', PATH);
  await until(scene, '200');
  story.done('200 again: the VirtualService is gone');
}

async function until({ lab }: Scene, status: string): Promise<void> {
  for (const end = performance.now() + PATIENCE_MS; ; await sleep(20)) {
    const { stdout } = await lab.exec('workspace', CALL);
    if (stdout === status) return;
    expectThat(performance.now() < end, `orders.shop answers ${stdout}, not ${status}`);
  }
}
