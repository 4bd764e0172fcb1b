/** Validates configurations with a real Envoy: accepted ones are valid, and some refusals are justified. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Message } from '@bufbuild/protobuf';
import { upLab } from '@meshpass/lab';
import { ensureTools } from '@meshpass/lab/install/tools';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { until } from '../../../test/mesh.ts';
import { readConfiguration, reduceResource, toProtoJson } from '../src/index.ts';
import { captured } from './captured/captured.ts';
import { honest, type Spoiled, typed } from './hostile/honest.ts';
import { EXPECTED, relayed } from './relayed.ts';

const ADDRESS = '127.64.99.9';
let envoy: string;
let folder: string;

beforeAll(async () => {
  envoy = (await ensureTools(() => {})).envoy;
  folder = mkdtempSync(join(tmpdir(), 'meshpass-envoy-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function bootstrap(resources: Spoiled, more: Spoiled = {}): string {
  const file = join(folder, 'envoy.json');
  writeFileSync(file, JSON.stringify({ static_resources: resources, ...more }));
  return file;
}

it('Envoy accepts every reduced listener, route and cluster of istiod', () => {
  const reduced = relayed(captured(), (resource) => reduceResource(resource, EXPECTED).resource);
  const { refusals, listeners, clusters, routes } = readConfiguration(reduced, EXPECTED);
  expect(refusals).toEqual([]);
  const json = (messages: readonly Message[]): Spoiled[] => messages.map((message) => toProtoJson(message));
  const socket = { endpoint: { address: { pipe: { path: join(folder, 'agent.sock') } } } };
  const agent = {
    name: 'agent',
    type: 'STATIC',
    load_assignment: { cluster_name: 'agent', endpoints: [{ lb_endpoints: [socket] }] },
    typed_extension_protocol_options: {
      'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': typed(
        'envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
        {
          explicit_http_config: { http2_protocol_options: {} },
        },
      ),
    },
  };
  // Inline, so that Envoy also validates the routes.
  const byName = new Map(json(routes).map((route) => [route.name, { ...route, validate_clusters: false }]));
  const inlined = JSON.parse(JSON.stringify(json(listeners)), (_key, value) =>
    value?.rds ? { ...value, rds: undefined, route_config: byName.get(value.rds.route_config_name) } : value,
  );
  const file = bootstrap(
    { listeners: inlined, clusters: [agent, ...json(clusters)] },
    {
      node: { id: 'x', cluster: 'x' },
      bootstrap_extensions: [
        { name: 'x', typed_config: typed('envoy.extensions.bootstrap.internal_listener.v3.InternalListener') },
      ],
    },
  );
  const said = execFileSync(envoy, ['--mode', 'validate', '-c', file, '-l', 'error'], { encoding: 'utf8' });
  expect(said).toContain('OK');
});

it("a header value can read Envoy's environment, which is why only listed format commands are accepted", async () => {
  const lab = await upLab();
  const route = { match: { prefix: '/' }, direct_response: { status: 200 } };
  const host = { name: 'x', domains: ['*'], routes: [route] };
  const header = { header: { key: 'x-stolen', value: '%ENVIRONMENT(CODESPACE_SECRET)%' } };
  const [listener] = honest().listeners;
  listener.address.socket_address = { address: ADDRESS, port_value: 18_080 };
  const manager = listener.filter_chains[0].filters[0].typed_config;
  delete manager.rds;
  manager.route_config = { name: 'x', virtual_hosts: [{ ...host, response_headers_to_add: [header] }] };
  const { '@type': _, ...plain } = listener;
  const env = { CODESPACE_SECRET: 'of-the-developer' };
  const running = lab.spawn('workspace', [envoy, '-c', bootstrap({ listeners: [plain] }), '-l', 'error'], {
    env,
    log: 'format',
  });
  try {
    const call = () => lab.exec('workspace', ['curl', '-si', '-m', '2', `http://${ADDRESS}:18080/`]);
    const { stdout } = await until(call, (answer) => answer.code === 0);
    expect(stdout).toContain('x-stolen: of-the-developer');
  } finally {
    running.kill();
    await lab.down();
  }
});
