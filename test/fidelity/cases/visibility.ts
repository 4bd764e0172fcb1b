/** Visibility of rules, and services and ports of unusual kinds. */
import type { KubeObject } from '@meshpass/lab';
import { serviceObjects } from '@meshpass/lab/mesh/objects';
import { LONG_NAME, planLab } from '@meshpass/lab/plan';
import type { Case, World } from '../case.ts';
import { statusOf } from '../observe.ts';
import { ANY, virtualService } from '../rules.ts';

const TEAPOT = [{ fault: { abort: { httpStatus: 418, percentage: { value: 100 } } }, route: [ANY] }];
const LONG = `${LONG_NAME}.shop.svc.cluster.local`;
const HEADLESS = 'echo-headless.shop.svc.cluster.local';

export const visibility: readonly Case[] = [
  {
    feature: '`exportTo` of a VirtualService',
    rule: 'a 418 of namespace `dev`, exported to `.` alone',
    apply: [virtualService(TEAPOT, { exportTo: ['.'] }, 'dev')],
    takeAway: [virtualService(TEAPOT, { exportTo: ['*'] }, 'dev')],
    observe: (world) => statusOf(world, '/exported'),
    expected: '200',
  },
  {
    feature: '`Sidecar` scoping',
    rule: 'namespace `shop` and no other; in a Codespace, its grants',
    apply: [
      {
        apiVersion: 'networking.istio.io/v1',
        kind: 'Sidecar',
        metadata: { name: 'fidelity', namespace: 'shop' },
        spec: {
          workloadSelector: { labels: { app: 'client' } },
          egress: [{ hosts: ['shop/*', 'istio-system/*'] }],
          outboundTrafficPolicy: { mode: 'REGISTRY_ONLY' },
        },
      },
    ],
    grantWithout: { service: 'web.dev', port: 80 },
    observe: async (world) => {
      const web = await world.call({ do: 'http', url: 'http://web.dev/' });
      return `echo.shop ${await statusOf(world, '/')}, web.dev ${web.status === 200 ? 200 : 'out of reach'}`;
    },
    expected: 'echo.shop 200, web.dev out of reach',
  },
  {
    feature: 'Headless Service',
    rule: '418 for its name',
    apply: [virtualService([{ ...TEAPOT[0], route: [{ destination: { host: HEADLESS } }] }], { hosts: [HEADLESS] })],
    observe: async (world) => `${(await world.call({ do: 'http', url: 'http://echo-headless.shop:8081/' })).status}`,
    expected: '418',
  },
  {
    feature: 'Service with a long name',
    rule: `418 for its name, of ${LONG.length} characters`,
    apply: [virtualService([{ ...TEAPOT[0], route: [{ destination: { host: LONG } }] }], { hosts: [LONG] })],
    observe: async (world) => {
      const { status } = await world.call({ do: 'http', url: `http://${LONG_NAME}.shop:8080/` });
      return `${status || 'no answer'}`;
    },
    expected: '418',
  },
  {
    feature: 'Undeclared protocol',
    rule: '418 for HTTP on a port that declares no protocol',
    apply: [virtualService([{ ...TEAPOT[0], match: [{ port: 7000 }] }, { route: [ANY] }])],
    observe: async (world) =>
      `${(await world.call({ do: 'http', url: 'http://echo.shop:7000/' })).status || 'no answer'}`,
    expected: '418',
  },
  {
    feature: 'Server-first protocol',
    rule: 'the port declares TCP',
    apply: [echoService({})],
    takeAway: [echoService({ appProtocol: 'undeclared' })],
    restore: [echoService({})],
    observe: banner,
    expected: '220 at once',
  },
];

/** The lab's own Service. @param more of the port on which the server speaks first */
function echoService(more: object): KubeObject {
  const service = serviceObjects(planLab('lab', 1, ['echo-v1', 'echo-v2'])).find(
    ({ kind, metadata }) => kind === 'Service' && metadata.name === 'echo',
  )!;
  const { ports, ...spec } = service.spec as { readonly ports: readonly { readonly port: number }[] };
  return {
    ...service,
    spec: { ...spec, ports: ports.map((port) => (port.port === 2525 ? { ...port, ...more } : port)) },
  };
}

async function banner(world: World): Promise<string> {
  const call = {
    do: 'tcp',
    host: 'echo.shop',
    port: 2525,
    serverFirst: true,
    send: ['QUIT'],
    timeoutMs: 3_000,
  } as const;
  const { lines, over } = await world.call(call);
  return lines[0]?.startsWith('220 ') ? '220 at once' : over;
}
