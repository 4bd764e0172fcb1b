import { describe, expect, it } from 'vitest';
import { type Spoiled, spoil, typed } from './honest.ts';

const HTTP = 'Listener dev/127.64.0.1_8080';
const TCP = 'Listener dev/127.64.0.2_5432 | filter_chains[0].filters[0].typed_config';
const PROXY = 'envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy';
const EXTENSIONS = 'envoy.extensions';

function tcp(change: (proxy: Spoiled) => void): string[] {
  return spoil(({ listeners }) => change(listeners[1].filter_chains[0].filters[0].typed_config));
}

function chain(change: (chain: Spoiled, listener: Spoiled) => void): string[] {
  return spoil(({ listeners }) => change(listeners[0].filter_chains[0], listeners[0]));
}

describe('a network filter that is not listed is refused', () => {
  const types = [
    'wasm.v3.Wasm',
    'ext_authz.v3.ExtAuthz',
    'sni_dynamic_forward_proxy.v3.FilterConfig',
    'redis_proxy.v3.RedisProxy',
    'dynamic_modules.v3.DynamicModuleNetworkFilter',
    'echo.v3.Echo',
    'direct_response.v3.Config',
    'reverse_tunnel.v3.ReverseTunnel',
  ];
  it.each(types)('%s', (type) => {
    const refused = chain(({ filters }) => {
      filters[0].typed_config = typed(`${EXTENSIONS}.filters.network.${type}`);
    });
    expect(refused).toEqual([
      `${HTTP} | filter_chains[0].filters[0].typed_config | type.googleapis.com/${EXTENSIONS}.filters.network.${type}: the type is not accepted here`,
    ]);
  });

  it.each(['original_dst', 'original_src', 'proxy_protocol', 'local_ratelimit'])('listener filter %s', (name) => {
    const type = `${EXTENSIONS}.filters.listener.${name}.v3.X`;
    const refused = chain((_, listener) => {
      listener.listener_filters = [{ name, typed_config: typed(type) }];
    });
    expect(refused).toEqual([
      `${HTTP} | listener_filters[0].typed_config | type.googleapis.com/${type}: the type is not accepted here`,
    ]);
  });

  it('two terminal filters in a chain', () => {
    expect(chain(({ filters }) => filters.push(filters[0]))).toEqual([
      `${HTTP} | filter_chains[0] | envoy.config.listener.v3.FilterChain: a filter chain must have exactly one HTTP or TCP filter, but has 2`,
    ]);
  });

  it('TLS terminated by the listener', () => {
    const refused = chain((one) => {
      one.transport_socket = {
        name: 'x',
        typed_config: typed(`${EXTENSIONS}.transport_sockets.tls.v3.DownstreamTlsContext`),
      };
    });
    expect(refused).toEqual([
      `${HTTP} | filter_chains[0].transport_socket | envoy.config.listener.v3.FilterChain.transport_socket: the field is not accepted`,
    ]);
  });

  const fields: Spoiled = {
    tunneling_config: { hostname: 'evil.example:443' },
    on_demand: { odcds_config: { ads: {} } },
    access_log_options: { flush_access_log_on_connected: true },
    metadata_match: { filter_metadata: { 'envoy.lb': { x: 'y' } } },
    proxy_protocol_tlvs: [{ type: 1, value: 'eA==' }],
  };
  it.each(Object.keys(fields))('TCP with %s', (field) => {
    expect(
      tcp((proxy) => {
        proxy[field] = fields[field];
      }),
    ).toEqual([`${TCP}.${field} | ${PROXY}.${field}: the field is not accepted`]);
  });

  it('TCP to a cluster of the agent', () => {
    const refused = tcp((proxy) => {
      proxy.cluster = 'edge/dev';
    });
    expect(refused).toEqual([
      `${TCP}.cluster | ${PROXY}.cluster: name "edge/dev" does not start with one of the session's grants`,
    ]);
  });
});
