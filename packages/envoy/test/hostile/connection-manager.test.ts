import { describe, expect, it } from 'vitest';
import { type Spoiled, spoil, typed } from './honest.ts';

const HTTP = 'Listener dev/127.64.0.1_8080';
const MANAGER = 'filter_chains[0].filters[0].typed_config';
const CONNECTION_MANAGER = 'envoy.extensions.filters.network.http_connection_manager.v3';
function manager(change: (manager: Spoiled) => void): string[] {
  return spoil(({ listeners }) => change(listeners[0].filter_chains[0].filters[0].typed_config));
}

describe('a connection manager that does more than route is refused', () => {
  const unlisted: Spoiled = {
    scoped_routes: { name: 'x', scope_key_builder: { fragments: [] } },
    local_reply_config: { body_format: { text_format: 'x' } },
    original_ip_detection_extensions: [{ name: 'x', typed_config: typed('x.y.Z') }],
    early_header_mutation_extensions: [{ name: 'x', typed_config: typed('x.y.Z') }],
    path_normalization_options: {},
    typed_header_validation_config: { name: 'x', typed_config: typed('x.y.Z') },
    set_current_client_cert_details: { cert: true },
    add_proxy_protocol_connection_state: true,
    proxy_status_config: {},
    http3_protocol_options: {},
    internal_address_config: {},
  };
  it.each(Object.keys(unlisted))('%s', (field) => {
    const refused = manager((it) => {
      if (field === 'scoped_routes') delete it.rds;
      it[field] = unlisted[field];
    });
    expect(refused[0]).toBe(
      `${HTTP} | ${MANAGER}.${field} | ${CONNECTION_MANAGER}.HttpConnectionManager.${field}: the field is not accepted`,
    );
  });

  const sources: [string, Spoiled][] = [
    ['a file', { path_config_source: { path: '/tmp/x' } }],
    ['a REST server', { api_config_source: { api_type: 'REST', cluster_names: ['dev/x'] } }],
    [
      'a gRPC server',
      { api_config_source: { api_type: 'GRPC', grpc_services: [{ envoy_grpc: { cluster_name: 'agent' } }] } },
    ],
    ['itself', { self: {} }],
    ['ADS of an authority', { ads: {}, resource_api_version: 'V3', authorities: [{ name: 'x' }] }],
  ];
  it.each(sources)('routes from %s', (_name, config_source) => {
    const refused = manager((it) => {
      it.rds.config_source = config_source;
    });
    expect(refused).toEqual([
      `${HTTP} | ${MANAGER}.rds.config_source | ${CONNECTION_MANAGER}.Rds.config_source: configuration may only come from ADS`,
    ]);
  });

  it("routes that are missing, or outside the session's grants", () => {
    const missing = manager((it) => {
      it.rds.route_config_name = 'dev/other';
    });
    const foreign = manager((it) => {
      it.rds.route_config_name = 'other/8080';
    });
    expect(missing).toEqual([`${HTTP} |  | route configuration "dev/other" is missing`]);
    expect(foreign[0]).toBe(
      `${HTTP} | ${MANAGER}.rds.route_config_name | ${CONNECTION_MANAGER}.Rds.route_config_name: name "other/8080" does not start with one of the session's grants`,
    );
  });

  it.each(['CONNECT', 'connect-udp', 'spdy/3.1', ''])('upgrades to %s', (upgrade_type) => {
    const refused = manager((it) => {
      it.upgrade_configs = [{ upgrade_type, enabled: true }];
    });
    const type = `${CONNECTION_MANAGER}.HttpConnectionManager.UpgradeConfig.upgrade_type`;
    const at = `${HTTP} | ${MANAGER}.upgrade_configs[0]`;
    const reason =
      upgrade_type === ''
        ? ` | ${type}: upgrade_type must be set`
        : `.upgrade_type | ${type}: only upgrades to WebSocket are accepted`;
    expect(refused).toEqual([at + reason]);
  });

  it('WebSocket with its own filters', () => {
    const refused = manager((it) => {
      it.upgrade_configs = [{ upgrade_type: 'websocket', filters: [{ name: 'x' }] }];
    });
    expect(refused).toEqual([
      `${HTTP} | ${MANAGER}.upgrade_configs[0].filters | ${CONNECTION_MANAGER}.HttpConnectionManager.UpgradeConfig.filters: the field is not accepted`,
    ]);
  });

  it('traces to a host, and tags from the environment', () => {
    const zipkin = typed('envoy.config.trace.v3.ZipkinConfig', { collector_cluster: 'x', collector_endpoint: '/' });
    const refused = manager((it) => {
      it.tracing = {
        provider: { name: 'x', typed_config: zipkin },
        custom_tags: [{ tag: 'x', environment: { name: 'HOME' } }],
      };
    });
    expect(refused).toEqual([
      `${HTTP} | ${MANAGER}.tracing.custom_tags | ${CONNECTION_MANAGER}.HttpConnectionManager.Tracing.custom_tags: the field is not accepted`,
      `${HTTP} | ${MANAGER}.tracing.provider.typed_config | ${zipkin['@type']}: the type is not accepted here`,
    ]);
  });
});
