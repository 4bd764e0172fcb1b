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

describe('access logs are refused, because the agent adds its own', () => {
  const common_config = {
    log_name: 'x',
    transport_api_version: 'V3',
    buffer_flush_interval: '0.1s',
    grpc_service: { envoy_grpc: { cluster_name: 'agent' } },
  };
  const loggers: [string, Spoiled][] = [
    ['file.v3.FileAccessLog', { path: '/home/dev/.bashrc' }],
    ['stream.v3.StdoutAccessLog', {}],
    ['wasm.v3.WasmAccessLog', {}],
    ['open_telemetry.v3.OpenTelemetryAccessLogConfig', {}],
    ['fluentd.v3.FluentdAccessLogConfig', {}],
    ['grpc.v3.HttpGrpcAccessLogConfig', { common_config }],
    ['grpc.v3.TcpGrpcAccessLogConfig', { common_config }],
  ];
  it.each(loggers)('%s', (type, json) => {
    const typed_config = typed(`${EXTENSIONS}.access_loggers.${type}`, json);
    const log = (one: Spoiled) => {
      one.access_log = [{ name: 'x', typed_config }];
    };
    expect([...manager(log), ...tcp(log)]).toEqual([
      `${HTTP} | ${MANAGER}.access_log | ${CONNECTION_MANAGER}.HttpConnectionManager.access_log: the field is not accepted`,
      `${TCP}.access_log | ${EXTENSIONS}.filters.network.tcp_proxy.v3.TcpProxy.access_log: the field is not accepted`,
    ]);
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
