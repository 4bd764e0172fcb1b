import { describe, expect, it } from 'vitest';
import { type Honest, type Spoiled, spoil, typed } from './honest.ts';

const NAME = 'Cluster dev/outbound|8080||orders.shop.svc.cluster.local';
const CLUSTER = 'envoy.config.cluster.v3.Cluster';
const ENDPOINT = 'load_assignment.endpoints[0].lb_endpoints[0]';
const ADDRESS = `${ENDPOINT}.endpoint.address | envoy.config.endpoint.v3.Endpoint.address`;

function withFields(fields: Spoiled): (configuration: Honest) => void {
  return ({ clusters }) => {
    Object.assign(clusters[0], fields);
  };
}

function withEndpoint(change: (endpoint: Spoiled, cluster: Spoiled) => void): (configuration: Honest) => void {
  return ({ clusters }) => change(clusters[0].load_assignment.endpoints[0].lb_endpoints[0], clusters[0]);
}

function toAddress(address: Spoiled): (configuration: Honest) => void {
  return withEndpoint(({ endpoint }) => {
    endpoint.address = address;
  });
}

function toListener(name: string): (configuration: Honest) => void {
  return toAddress({ envoy_internal_address: { server_listener_name: name } });
}

describe('a cluster that leads out of the mesh is refused', () => {
  const discovery = `${NAME} | type | ${CLUSTER}.type: clusters that look up or learn addresses are not accepted`;
  const behind = `${NAME} | ${ADDRESS}: endpoints are accepted only behind the tunnel, by the name of an internal listener`;
  const custom = `${NAME} | cluster_type | ${CLUSTER}.cluster_type: the field is not accepted`;
  const cases: [string, (configuration: Honest) => void, string][] = [
    ['an address', toAddress({ socket_address: { address: '192.0.2.1', port_value: 443 } }), behind],
    ['a host', toAddress({ socket_address: { address: 'evil.example', port_value: 443 } }), behind],
    ['the socket of Docker', toAddress({ pipe: { path: '/var/run/docker.sock' } }), behind],
    ['STRICT_DNS', withFields({ type: 'STRICT_DNS' }), discovery],
    ['LOGICAL_DNS', withFields({ type: 'LOGICAL_DNS' }), discovery],
    ['ORIGINAL_DST', withFields({ type: 'ORIGINAL_DST' }), discovery],
    ['EDS', withFields({ type: 'EDS' }), discovery],
    ['aggregate', customType('clusters.aggregate.v3.ClusterConfig'), custom],
    ['dynamic forward proxy', customType('clusters.dynamic_forward_proxy.v3.ClusterConfig'), custom],
    ['redis', customType('clusters.redis.v3.RedisClusterConfig'), custom],
    ['dynamic module', customType('clusters.dynamic_modules.v3.ClusterConfig'), custom],
    [
      'a second address of the endpoint',
      withEndpoint(({ endpoint }) => {
        endpoint.additional_addresses = [{ address: { socket_address: { address: '192.0.2.1', port_value: 1 } } }];
      }),
      `${NAME} | ${ENDPOINT}.endpoint.additional_addresses | envoy.config.endpoint.v3.Endpoint.additional_addresses: the field is not accepted`,
    ],
    [
      'a health check elsewhere',
      withEndpoint(({ endpoint }) => {
        endpoint.health_check_config = { address: { socket_address: { address: '192.0.2.1', port_value: 1 } } };
      }),
      `${NAME} | ${ENDPOINT}.endpoint.health_check_config | envoy.config.endpoint.v3.Endpoint.health_check_config: the field is not accepted`,
    ],
    [
      'two endpoints',
      withEndpoint((endpoint, cluster) => {
        cluster.load_assignment.endpoints[0].lb_endpoints.push(endpoint);
      }),
      `${NAME} |  | ${CLUSTER}: a cluster must have exactly one endpoint, its tunnel`,
    ],
    [
      'the tunnel of another grant',
      toListener('tunnel/ops'),
      `${NAME} |  | ${CLUSTER}: endpoint "tunnel/ops" is neither the tunnel of the cluster's grant nor an internal listener`,
    ],
    [
      'a listener of the agent',
      toListener('agent/x'),
      `${NAME} |  | ${CLUSTER}: endpoint "agent/x" is neither the tunnel of the cluster's grant nor an internal listener`,
    ],
  ];
  it.each(cases)('%s', (_name, change, expected) => {
    expect(spoil(change)[0]).toEqual(expected);
  });

  function customType(type: string): (configuration: Honest) => void {
    return ({ clusters }) => {
      delete clusters[0].type;
      clusters[0].cluster_type = { name: 'x', typed_config: typed(`envoy.extensions.${type}`) };
    };
  }

  it('an internal listener that is missing, or has an address', () => {
    expect(spoil(toListener('dev/other'))).toContain(`${NAME} |  | internal listener "dev/other" is missing`);
    expect(spoil(toListener('dev/127.64.0.1_8080'))).toContain(
      `${NAME} |  | internal listener "dev/127.64.0.1_8080" is missing`,
    );
  });

  it('internal listeners that form a loop', () => {
    const change = (configuration: Honest) => {
      toListener('dev/inner')(configuration);
      delete configuration.listeners[0].address;
      Object.assign(configuration.listeners[0], { name: 'dev/inner', internal_listener: {} });
    };
    expect(spoil(change)).toEqual([
      'Listener dev/inner |  | an internal listener must not lead to another one, because requests could loop',
    ]);
  });
});

describe('a cluster that may leave without TLS is refused', () => {
  const plaintext = `${NAME} |  | ${CLUSTER}: a cluster that may connect without TLS is not accepted`;
  const raw = { name: 'x', typed_config: typed('envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer') };
  const unknown = 'type.googleapis.com/envoy.extensions.transport_sockets';
  const cases: [string, (configuration: Honest) => void, string][] = [
    ['no transport socket', withFields({ transport_socket_matches: [] }), plaintext],
    [
      'an endpoint without a match',
      withEndpoint((endpoint) => {
        endpoint.metadata.filter_metadata['envoy.transport_socket_match'].tlsMode = 'disabled';
      }),
      plaintext,
    ],
    [
      'a match by a number, which Envoy may compare differently',
      withEndpoint((endpoint, cluster) => {
        endpoint.metadata.filter_metadata['envoy.transport_socket_match'].tlsMode = 1;
        cluster.transport_socket_matches[0].match.tlsMode = 1;
      }),
      plaintext,
    ],
    [
      'a match without a transport socket',
      ({ clusters }) => {
        clusters[0].transport_socket_matches.unshift({ name: 'x', match: {} });
        clusters[0].transport_socket_matches.length = 1;
      },
      plaintext,
    ],
    [
      'raw buffer as the default',
      withFields({ transport_socket: raw }),
      `${NAME} | transport_socket.typed_config | ${unknown}.raw_buffer.v3.RawBuffer: the type is not accepted here`,
    ],
    [
      'a tap that writes files',
      withFields({
        transport_socket: { name: 'x', typed_config: typed('envoy.extensions.transport_sockets.tap.v3.Tap') },
      }),
      `${NAME} | transport_socket.typed_config | ${unknown}.tap.v3.Tap: the type is not accepted here`,
    ],
    [
      'PROXY protocol around it',
      withFields({
        transport_socket: {
          name: 'x',
          typed_config: typed('envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport'),
        },
      }),
      `${NAME} | transport_socket.typed_config | ${unknown}.proxy_protocol.v3.ProxyProtocolUpstreamTransport: the type is not accepted here`,
    ],
    [
      'connections to every endpoint before the first request',
      withFields({ preconnect_policy: { predictive_preconnect_ratio: 3 } }),
      `${NAME} | preconnect_policy.predictive_preconnect_ratio | ${CLUSTER}.PreconnectPolicy.predictive_preconnect_ratio: the field is not accepted`,
    ],
    [
      'a socket matcher, which the gate does not evaluate',
      withFields({ transport_socket_matcher: { on_no_match: {} } }),
      `${NAME} | transport_socket_matcher | ${CLUSTER}.transport_socket_matcher: the field is not accepted`,
    ],
  ];
  it.each(cases)('%s', (_name, change, expected) => {
    expect(spoil(change)[0]).toEqual(expected);
  });
});

describe('a cluster that does more than carry requests is refused', () => {
  const fields: Spoiled = {
    health_checks: [
      { timeout: '1s', interval: '1s', unhealthy_threshold: 1, healthy_threshold: 1, http_health_check: { path: '/' } },
    ],
    upstream_bind_config: { source_address: { address: '127.0.0.1', port_value: 0 } },
    lrs_server: { self: {} },
    eds_cluster_config: { eds_config: { path_config_source: { path: '/etc/passwd' } } },
    dns_resolvers: [{ socket_address: { address: '192.0.2.1', port_value: 53 } }],
    typed_dns_resolver_config: { name: 'x', typed_config: typed('x.y.Z') },
    load_balancing_policy: { policies: [] },
    upstream_config: { name: 'x', typed_config: typed('x.y.Z') },
    lb_subset_config: { subset_selectors: [{ keys: ['x'] }] },
    original_dst_lb_config: { use_http_header: true },
    http2_protocol_options: { allow_metadata: true },
    wait_for_warm_on_init: false,
  };
  it.each(Object.keys(fields))('%s', (field) => {
    expect(spoil(withFields({ [field]: fields[field] }))).toEqual([
      `${NAME} | ${field} | ${CLUSTER}.${field}: the field is not accepted`,
    ]);
  });

  it('upstream filters', () => {
    const lua = typed('envoy.extensions.filters.http.lua.v3.Lua', { inline_code: 'os.execute("id")' });
    expect(spoil(withFields({ filters: [{ name: 'x', typed_config: lua }] }))).toEqual([
      `${NAME} | filters[0].typed_config | ${lua['@type']}: the type is not accepted here`,
    ]);
  });

  it('protocol options other than HTTP', () => {
    const options = {
      'envoy.filters.network.redis_proxy': typed(
        'envoy.extensions.filters.network.redis_proxy.v3.RedisProtocolOptions',
      ),
    };
    expect(spoil(withFields({ typed_extension_protocol_options: options }))).toEqual([
      `${NAME} | typed_extension_protocol_options["envoy.filters.network.redis_proxy"] | ${CLUSTER}.typed_extension_protocol_options: protocol options "envoy.filters.network.redis_proxy" are not accepted`,
    ]);
  });

  it.each(['upstream_http_protocol_options', 'http_filters', 'header_validation_config'])('%s of HTTP', (field) => {
    const type = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';
    const value = field === 'http_filters' ? [{ name: 'x' }] : {};
    const options = {
      [type]: typed(type, { explicit_http_config: { http2_protocol_options: {} }, [field]: value as Spoiled }),
    };
    expect(spoil(withFields({ typed_extension_protocol_options: options }))).toEqual([
      `${NAME} | typed_extension_protocol_options["${type}"].${field} | ${type}.${field}: the field is not accepted`,
    ]);
  });

  it('hash rings and tables that would fill the memory if every cluster had one', () => {
    const ring = withFields({ lb_policy: 'RING_HASH', ring_hash_lb_config: { minimum_ring_size: '65537' } });
    const table = withFields({ lb_policy: 'MAGLEV', maglev_lb_config: { table_size: '5000011' } });
    expect([...spoil(ring), ...spoil(table)]).toEqual([
      `${NAME} | ring_hash_lb_config.minimum_ring_size | ${CLUSTER}.RingHashLbConfig.minimum_ring_size: 65537 is more than 4096`,
      `${NAME} | maglev_lb_config.table_size | ${CLUSTER}.MaglevLbConfig.table_size: 5000011 is more than 65537`,
    ]);
  });

  it('metadata that other parts of Envoy read', () => {
    const metadata = {
      filter_metadata: { 'envoy.filters.http.lua': { code: 'x' } },
      typed_filter_metadata: { x: typed('x.y.Z') },
    };
    expect(spoil(withFields({ metadata }))).toEqual([
      `${NAME} | metadata.filter_metadata["envoy.filters.http.lua"] | envoy.config.core.v3.Metadata.filter_metadata: metadata "envoy.filters.http.lua" is not accepted`,
      `${NAME} | metadata.typed_filter_metadata | envoy.config.core.v3.Metadata.typed_filter_metadata: the field is not accepted`,
    ]);
  });
});
