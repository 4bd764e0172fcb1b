import type { JsonObject } from '@bufbuild/protobuf';
import { checkConfiguration } from '@meshpass/envoy';
import { describe, expect, it } from 'vitest';
import type { GrantSetConfiguration } from '../../src/mesh/xds/transform/merge.ts';
import {
  at,
  CATALOG,
  EXPECTED,
  find,
  HEADLESS,
  jsonOf,
  LEDGER,
  managerOf,
  named,
  ORDERS,
  ORDERS_CLUSTER,
  ORDERS_ROUTES,
  text,
  transformed,
} from './istiod-answers.ts';

describe('the configuration of a grant', () => {
  it('passes the check of the agent', () => {
    expect(checkConfiguration({ version: 1, ...transformed() }, EXPECTED)).toEqual([]);
  });

  it('has a listener on the loopback address of each granted port, and nothing of other services', () => {
    const set = transformed(() => {}, [ORDERS]);
    expect(set.listeners.map((any) => jsonOf(any).name)).toEqual(['dev/127.64.0.1_8080']);
    expect(set.clusters.map((any) => jsonOf(any).name)).toEqual([
      `dev/${ORDERS_CLUSTER}`,
      `dev/websocket/${ORDERS_CLUSTER}`,
    ]);
    expect(text(set)).not.toMatch(/ledger|headless|headhttp|undecl|9090|5432|BlackHole/);
  });

  it('has no address of the cluster', () => {
    const set = transformed();
    const bytes = [...set.listeners, ...set.clusters, ...set.routes].map(({ value }) => Buffer.from(value));
    for (const address of ['10.96.', '10.201.', '0.0.0.0'])
      expect(Buffer.concat(bytes).includes(address), address).toBe(false);
  });

  it('leads through the tunnel of the grant, with the SPIFFE id that istiod names and the SNI of the port', () => {
    const cluster = find(transformed().clusters, `dev/${ORDERS_CLUSTER}`);
    expect(cluster).toMatchObject({ type: 'STATIC' });
    expect(at(cluster, 'load_assignment', 'endpoints', 0, 'lb_endpoints', 0, 'endpoint', 'address')).toEqual({
      envoy_internal_address: { server_listener_name: 'tunnel/dev', endpoint_id: `dev/${ORDERS_CLUSTER}` },
    });
    const tls = at(cluster, 'transport_socket', 'typed_config');
    expect(tls.sni).toBe('outbound_.8080_._.orders.shop.svc.cluster.local');
    expect(JSON.stringify(tls)).toContain('"exact":"spiffe://cluster.local/ns/shop/sa/orders"');
    expect(cluster).not.toHaveProperty('transport_socket_matches');
  });

  it('has no way to a service without endpoints of the mesh', () => {
    const set = transformed(({ endpoints }) => {
      at(named(endpoints, ORDERS_CLUSTER), 'endpoints', 0, 'lb_endpoints', 0).metadata = {};
    });
    const cluster = find(set.clusters, `dev/${ORDERS_CLUSTER}`);
    expect(cluster).not.toHaveProperty('transport_socket');
    expect(cluster.load_assignment).toEqual({ cluster_name: `dev/${ORDERS_CLUSTER}` });
    expect(set.leftOut).toContainEqual({ what: 'endpoints without mutual TLS', where: 'Cluster', count: 1 });
    expect(checkConfiguration({ version: 1, ...set }, EXPECTED)).toEqual([]);
  });

  it('has none if a certificate of another trust domain would have to be accepted', () => {
    const set = transformed(({ clusters }) => {
      const match = at(named(clusters, ORDERS_CLUSTER), 'transport_socket_matches', 0, 'transport_socket');
      const names = at(match, 'typed_config', 'common_tls_context', 'combined_validation_context');
      at(names, 'default_validation_context').match_subject_alt_names = [{ exact: 'spiffe://evil.test/ns/a/sa/b' }];
    });
    expect(find(set.clusters, `dev/${ORDERS_CLUSTER}`)).not.toHaveProperty('transport_socket');
  });

  it('follows a TCP route to another granted service', () => {
    const listener = find(transformed().listeners, 'dev/127.64.0.2_5432');
    expect(managerOf(listener).cluster).toBe('dev/outbound|5433||headless.shop.svc.cluster.local');
  });

  it('has no listener if TCP is routed out of the grant', () => {
    const set = transformed(() => {}, [LEDGER]);
    expect(set.listeners).toEqual([]);
    expect(set.leftOut).toContainEqual(
      expect.objectContaining({ what: 'connection to a service that is not granted', where: 'Listener' }),
    );
  });

  it('also has a listener for a headless service without endpoints', () => {
    const set = transformed(
      ({ listeners }) => {
        listeners.splice(0, listeners.length);
      },
      [HEADLESS],
    );
    expect(managerOf(find(set.listeners, 'dev/127.64.0.3_5433')).cluster).toBe(
      'dev/outbound|5433||headless.shop.svc.cluster.local',
    );
  });

  it('detects the protocol of a port for which istiod does', () => {
    const listener = find(transformed(() => {}, [CATALOG]).listeners, 'dev/127.64.0.4_9090');
    expect(JSON.stringify(listener.listener_filters)).toContain('http_inspector');
    expect(managerOf(listener).rds).toMatchObject({ route_config_name: 'dev/undecl.shop.svc.cluster.local:9090' });
    expect(at(listener, 'default_filter_chain', 'filters', 0, 'typed_config').cluster).toBe(
      'dev/outbound|9090||undecl.shop.svc.cluster.local',
    );
    expect(find(transformed(() => {}, [CATALOG]).routes, 'dev/undecl.shop.svc.cluster.local:9090')).toMatchObject({
      ignore_port_in_host_matching: true,
      virtual_hosts: [{ domains: ['undecl.shop.svc.cluster.local', 'undecl.shop.svc', 'undecl.shop'] }],
    });
  });
});

describe('HTTP inside', () => {
  const optionsOf = (set: GrantSetConfiguration) =>
    find(set.clusters, `dev/${ORDERS_CLUSTER}`).typed_extension_protocol_options;
  const alpnOf = (set: GrantSetConfiguration) =>
    at(find(set.clusters, `dev/${ORDERS_CLUSTER}`), 'transport_socket', 'typed_config', 'common_tls_context')
      .alpn_protocols;

  const HTTP_OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';
  const httpOptionsOf = (set: GrantSetConfiguration) => at(optionsOf(set) ?? {}, HTTP_OPTIONS);
  const withOptions = (options: JsonObject) =>
    transformed(({ clusters }) => {
      named(clusters, ORDERS_CLUSTER).typed_extension_protocol_options =
        Object.keys(options).length === 0
          ? {}
          : { [HTTP_OPTIONS]: { '@type': `type.googleapis.com/${HTTP_OPTIONS}`, ...options } };
    });

  it('is HTTP/2', () => {
    expect(JSON.stringify(optionsOf(transformed()))).toContain('http2_protocol_options');
    expect(alpnOf(transformed())).toEqual(['istio-h2', 'istio', 'h2']);
  });

  it('is HTTP/1.1 for WebSockets, which sidecars do not accept over HTTP/2', () => {
    const set = transformed();
    const name = `dev/websocket/${ORDERS_CLUSTER}`;
    expect(find(set.clusters, name)).not.toHaveProperty('typed_extension_protocol_options');
    const routes = at(find(set.routes, `dev/${ORDERS_ROUTES}`), 'virtual_hosts', 0).routes as JsonObject[];
    expect(routes.map((one) => [at(one, 'route').cluster, at(one, 'match').headers])).toEqual([
      [name, [{ name: 'upgrade', string_match: { exact: 'websocket', ignore_case: true } }]],
      [`dev/${ORDERS_CLUSTER}`, undefined],
    ]);
  });

  it.each([
    ['max_connections', 10],
    ['max_pending_requests', 1],
  ])('is HTTP/1.1 if a DestinationRule sets %s', (limit, value) => {
    const set = transformed(({ clusters }) => {
      at(named(clusters, ORDERS_CLUSTER), 'circuit_breakers', 'thresholds', 0)[limit] = value;
    });
    expect(optionsOf(set)).toBeUndefined();
    expect(alpnOf(set)).toEqual(['istio-http/1.1', 'istio', 'http/1.1']);
  });

  it("is the program's own if a DestinationRule demands that", () => {
    const options = { use_downstream_protocol_config: { http_protocol_options: {}, http2_protocol_options: {} } };
    expect(httpOptionsOf(withOptions(options))).toMatchObject(options);
  });

  it.each([
    ['where the relay chose HTTP/2', {}],
    ['where the Service declares it', { explicit_http_config: { http2_protocol_options: {} } }],
    ['where the program chooses', { use_downstream_protocol_config: { http2_protocol_options: {} } }],
  ])(
    '%s, gets a new connection before a sidecar would end a shared one for the requests that were given up',
    (_, options) => {
      const { max_requests_per_connection: most } = at(
        httpOptionsOf(withOptions(options)),
        'common_http_protocol_options',
      );
      expect(most).toBeGreaterThan(0);
      expect(most).toBeLessThan(250);
    },
  );

  it('closes an unused connection, which needs memory at the edge and behind it', () => {
    expect(at(httpOptionsOf(withOptions({})), 'common_http_protocol_options').idle_timeout).toBe('600s');
  });

  it('keeps the number of requests per connection of a DestinationRule', () => {
    const options = {
      common_http_protocol_options: { max_requests_per_connection: 7, idle_timeout: '9s' },
      explicit_http_config: { http2_protocol_options: {} },
    };
    expect(httpOptionsOf(withOptions(options))).toMatchObject(options);
  });

  it('fails the one request whose answer is malformed, not the connection', () => {
    expect(at(httpOptionsOf(transformed()), 'explicit_http_config')).toEqual({
      http2_protocol_options: { override_stream_error_on_invalid_http_message: true },
    });
  });
});
