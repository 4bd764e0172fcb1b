import { describe, expect, it } from 'vitest';
import { checkConfiguration, type LeftOut, reduceResource } from '../src/index.ts';
import { captured } from './captured/captured.ts';
import { EXPECTED, relayed } from './relayed.ts';

describe('what a real istiod sent', () => {
  const leftOut: LeftOut[] = [];
  const lost: string[] = [];
  const configuration = relayed(captured(), (resource) => {
    const reduced = reduceResource(resource, EXPECTED);
    leftOut.push(...reduced.leftOut);
    if (!reduced.resource) lost.push(resource.typeUrl);
    return reduced.resource;
  });

  it('is refused as it is', () => {
    expect(checkConfiguration(relayed(captured()), EXPECTED).length).toBeGreaterThan(50);
  });

  it('passes the gate once it is reduced', () => {
    expect(checkConfiguration(configuration, EXPECTED)).toEqual([]);
  });

  it('loses no listener, no routes, and only the cluster that must use TLS to workloads which istiod does not know', () => {
    expect(lost).toEqual(['type.googleapis.com/envoy.config.cluster.v3.Cluster']);
  });

  it('loses just what a workspace cannot have, and each is named', () => {
    expect([...new Set(leftOut.map(({ what }) => what))].sort()).toEqual([
      // By an EnvoyFilter in the manifests.
      'envoy.config.cluster.v3.Cluster.dns_lookup_family',
      // A headless service: CLUSTER_PROVIDED, which says nothing behind the tunnel.
      'envoy.config.cluster.v3.Cluster.lb_policy',
      'envoy.config.listener.v3.Listener.socket_options',
      // That of an undeclared port takes every name; the broker gives it those of its service before this.
      'envoy.config.route.v3.VirtualHost',
      // Addresses of the cluster.
      'envoy.config.route.v3.VirtualHost.domains',
      // Access logs and traces that go elsewhere.
      'envoy.extensions.access_loggers.grpc.v3.CommonGrpcAccessLogConfig.grpc_service',
      'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.Tracing.custom_tags',
      // TLS to services without a workload that istiod knows.
      'envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext',
      'type.googleapis.com/envoy.config.trace.v3.ZipkinConfig',
      'type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog',
      'type.googleapis.com/envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig',
      // By EnvoyFilters.
      'type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua',
      'type.googleapis.com/envoy.extensions.filters.http.lua.v3.LuaPerRoute',
      'type.googleapis.com/envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit',
      // Plaintext, for workloads outside the mesh.
      'type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer',
      // Only Istio's own build of Envoy has these.
      'type.googleapis.com/istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig',
      'type.googleapis.com/stats.PluginConfig',
      'type.googleapis.com/udpa.type.v1.TypedStruct',
    ]);
  });
});
