import { describe, expect, it } from 'vitest';
import { type Spoiled, spoil, typed } from './honest.ts';

const HTTP = 'Listener dev/127.64.0.1_8080';
const MANAGER = 'filter_chains[0].filters[0].typed_config';
const TCP = 'Listener dev/127.64.0.2_5432 | filter_chains[0].filters[0].typed_config';
const CONNECTION_MANAGER = 'envoy.extensions.filters.network.http_connection_manager.v3';
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
