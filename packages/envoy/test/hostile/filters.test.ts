import { describe, expect, it } from 'vitest';
import { type Spoiled, spoil, typed } from './honest.ts';

const HTTP = 'Listener dev/127.64.0.1_8080';
const MANAGER = 'filter_chains[0].filters[0].typed_config';
const TCP = 'Listener dev/127.64.0.2_5432 | filter_chains[0].filters[0].typed_config';
const CONNECTION_MANAGER = 'envoy.extensions.filters.network.http_connection_manager.v3';
const PROXY = 'envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy';
const EXTENSIONS = 'envoy.extensions';

function manager(change: (manager: Spoiled) => void): string[] {
  return spoil(({ listeners }) => change(listeners[0].filter_chains[0].filters[0].typed_config));
}

function tcp(change: (proxy: Spoiled) => void): string[] {
  return spoil(({ listeners }) => change(listeners[1].filter_chains[0].filters[0].typed_config));
}

function chain(change: (chain: Spoiled, listener: Spoiled) => void): string[] {
  return spoil(({ listeners }) => change(listeners[0].filter_chains[0], listeners[0]));
}

describe('an HTTP filter that is not listed is refused', () => {
  const types = [
    ...[
      'lua.v3.Lua',
      'wasm.v3.Wasm',
      'dynamic_modules.v3.DynamicModuleFilter',
      'golang.v3alpha.Config',
      'ext_proc.v3.ExternalProcessor',
    ],
    ...[
      'ext_authz.v3.ExtAuthz',
      'tap.v3.Tap',
      'file_server.v3.FileServerConfig',
      'aws_lambda.v3.Config',
      'oauth2.v3.OAuth2',
    ],
    ...[
      'credential_injector.v3.CredentialInjector',
      'dynamic_forward_proxy.v3.FilterConfig',
      'on_demand.v3.OnDemand',
      'rbac.v3.RBAC',
    ],
    ...[
      'composite.v3.Composite',
      'set_filter_state.v3.Config',
      'cache.v3.CacheConfig',
      'original_src.v3.OriginalSrc',
      'jwt_authn.v3.JwtAuthentication',
    ],
    ...[
      'header_mutation.v3.HeaderMutation',
      'basic_auth.v3.BasicAuth',
      'custom_response.v3.CustomResponse',
      'admission_control.v3.AdmissionControl',
    ],
  ];
  it.each(types)('%s', (type) => {
    const refused = manager(({ http_filters }) => {
      http_filters.unshift({ name: 'x', typed_config: typed(`${EXTENSIONS}.filters.http.${type}`) });
    });
    expect(refused).toEqual([
      `${HTTP} | ${MANAGER}.http_filters[0].typed_config | type.googleapis.com/${EXTENSIONS}.filters.http.${type}: the type is not accepted here`,
    ]);
  });

  const structs = [
    'xds.type.v3.TypedStruct',
    'udpa.type.v1.TypedStruct',
    'google.protobuf.Struct',
    'google.protobuf.Any',
    'envoy.config.core.v3.TypedExtensionConfig',
  ];
  it.each(structs)('the router in the clothes of %s', (type) => {
    const refused = manager(({ http_filters }) => {
      http_filters[1].typed_config =
        type === 'google.protobuf.Struct' || type === 'google.protobuf.Any'
          ? { '@type': `type.googleapis.com/${type}`, value: {} }
          : typed(type);
    });
    expect(refused[0]).toBe(
      `${HTTP} | ${MANAGER}.http_filters[1].typed_config | type.googleapis.com/${type}: the type is not accepted here`,
    );
  });

  it('one whose configuration comes from elsewhere', () => {
    const refused = manager(({ http_filters }) => {
      http_filters[0] = {
        name: 'x',
        config_discovery: { config_source: { path_config_source: { path: '/tmp/x' } }, type_urls: ['x'] },
      };
    });
    expect(refused).toEqual([
      `${HTTP} | ${MANAGER}.http_filters[0].config_discovery | ${CONNECTION_MANAGER}.HttpFilter.config_discovery: the field is not accepted`,
    ]);
  });

  it('one under the name of the agent', () => {
    const refused = manager(({ http_filters }) => {
      http_filters[0].name = 'meshpass.token';
    });
    expect(refused).toEqual([
      `${HTTP} | ${MANAGER}.http_filters[0].name | ${CONNECTION_MANAGER}.HttpFilter.name: name "meshpass.token" is reserved for the agent`,
    ]);
  });

  it('no router, or one before the end', () => {
    const none = manager((it) => it.http_filters.pop());
    const before = manager((it) => it.http_filters.reverse());
    const reason = `${HTTP} | ${MANAGER} | ${CONNECTION_MANAGER}.HttpConnectionManager: the last HTTP filter must be the router`;
    expect([...none, ...before]).toEqual([reason, reason]);
  });

  it('a router that logs by itself or has filters of its own', () => {
    const router = `${EXTENSIONS}.filters.http.router.v3.Router`;
    const refused = manager(({ http_filters }) => {
      Object.assign(http_filters[1].typed_config, {
        upstream_log: [
          { name: 'x', typed_config: typed(`${EXTENSIONS}.access_loggers.file.v3.FileAccessLog`, { path: '/tmp/x' }) },
        ],
        upstream_http_filters: [{ name: 'x' }],
      });
    });
    expect(refused).toEqual([
      `${HTTP} | ${MANAGER}.http_filters[1].typed_config.upstream_log | ${router}.upstream_log: the field is not accepted`,
      `${HTTP} | ${MANAGER}.http_filters[1].typed_config.upstream_http_filters | ${router}.upstream_http_filters: the field is not accepted`,
    ]);
  });
});

describe('a log that goes elsewhere than to the agent is refused', () => {
  const loggers: [string, Spoiled][] = [
    ['file.v3.FileAccessLog', { path: '/home/dev/.bashrc' }],
    ['stream.v3.StdoutAccessLog', {}],
    ['wasm.v3.WasmAccessLog', {}],
    ['open_telemetry.v3.OpenTelemetryAccessLogConfig', {}],
    ['fluentd.v3.FluentdAccessLogConfig', {}],
  ];
  it.each(loggers)('%s', (type, json) => {
    const typed_config = typed(`${EXTENSIONS}.access_loggers.${type}`, json);
    const log = (one: Spoiled) => {
      one.access_log = [{ name: 'x', typed_config }];
    };
    const type_url = typed_config['@type'];
    expect([...manager(log), ...tcp(log)]).toEqual([
      `${HTTP} | ${MANAGER}.access_log[0].typed_config | ${type_url}: the type is not accepted here`,
      `${TCP}.access_log[0].typed_config | ${type_url}: the type is not accepted here`,
    ]);
  });

  const services: [string, Spoiled][] = [
    ['another cluster', { envoy_grpc: { cluster_name: 'dev/x' } }],
    ['the agent under another authority', { envoy_grpc: { cluster_name: 'agent', authority: 'x' } }],
    ['a host', { google_grpc: { target_uri: 'evil.example:443', stat_prefix: 'x' } }],
  ];
  it.each(services)('gRPC to %s', (_name, grpc_service) => {
    const common_config = { log_name: 'x', transport_api_version: 'V3', grpc_service };
    const refused = manager((it) => {
      it.access_log = [
        {
          name: 'x',
          typed_config: typed(`${EXTENSIONS}.access_loggers.grpc.v3.HttpGrpcAccessLogConfig`, { common_config }),
        },
      ];
    });
    expect(refused).toEqual([
      `${HTTP} | ${MANAGER}.access_log[0].typed_config.common_config.grpc_service | ${EXTENSIONS}.access_loggers.grpc.v3.CommonGrpcAccessLogConfig.grpc_service: gRPC services but the agent are not accepted`,
    ]);
  });

  it('but one to the agent is accepted, and may be filtered', () => {
    const common_config = {
      log_name: 'x',
      transport_api_version: 'V3',
      grpc_service: { envoy_grpc: { cluster_name: 'agent' } },
    };
    const cel = typed(`${EXTENSIONS}.access_loggers.filters.cel.v3.ExpressionFilter`, {
      expression: 'response.code >= 400',
    });
    const refused = manager((it) => {
      it.access_log = [
        {
          name: 'x',
          filter: {
            or_filter: {
              filters: [{ extension_filter: { name: 'cel', typed_config: cel } }, { not_health_check_filter: {} }],
            },
          },
          typed_config: typed(`${EXTENSIONS}.access_loggers.grpc.v3.HttpGrpcAccessLogConfig`, { common_config }),
        },
      ];
    });
    expect(refused).toEqual([]);
  });

  it('access_log of the listener, and access_log_options', () => {
    const options = manager((it) => {
      it.access_log_options = { flush_access_log_on_new_request: true };
    });
    const listener = chain((_, one) => {
      one.access_log = [
        { name: 'x', typed_config: typed(`${EXTENSIONS}.access_loggers.file.v3.FileAccessLog`, { path: '/x' }) },
      ];
    });
    expect([...options, ...listener]).toEqual([
      `${HTTP} | ${MANAGER}.access_log_options | ${CONNECTION_MANAGER}.HttpConnectionManager.access_log_options: the field is not accepted`,
      `${HTTP} | access_log | envoy.config.listener.v3.Listener.access_log: the field is not accepted`,
    ]);
  });
});

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

  it('routes that are missing, or of nobody', () => {
    const missing = manager((it) => {
      it.rds.route_config_name = 'dev/other';
    });
    const foreign = manager((it) => {
      it.rds.route_config_name = 'other/8080';
    });
    expect(missing).toEqual([`${HTTP} |  | route configuration "dev/other" is missing`]);
    expect(foreign[0]).toBe(
      `${HTTP} | ${MANAGER}.rds.route_config_name | ${CONNECTION_MANAGER}.Rds.route_config_name: name "other/8080" does not begin with a grant of the session`,
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

  it('WebSocket with filters of its own', () => {
    const refused = manager((it) => {
      it.upgrade_configs = [{ upgrade_type: 'websocket', filters: [{ name: 'x' }] }];
    });
    expect(refused).toEqual([
      `${HTTP} | ${MANAGER}.upgrade_configs[0].filters | ${CONNECTION_MANAGER}.HttpConnectionManager.UpgradeConfig.filters: the field is not accepted`,
    ]);
  });

  it('traces to a host, and tags out of the environment', () => {
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

  it('two filters that end a chain', () => {
    expect(chain(({ filters }) => filters.push(filters[0]))).toEqual([
      `${HTTP} | filter_chains[0] | envoy.config.listener.v3.FilterChain: a filter chain needs one filter that carries HTTP or TCP, and has 2`,
    ]);
  });

  it('TLS that ends here', () => {
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
      `${TCP}.cluster | ${PROXY}.cluster: name "edge/dev" does not begin with a grant of the session`,
    ]);
  });
});
