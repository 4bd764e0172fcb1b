import { describe, expect, it } from 'vitest';
import { checkConfiguration, type LeftOut, reduceResource } from '../src/index.ts';
import { captured } from './captured/captured.ts';
import { EXPECTED, relayed } from './relayed.ts';

describe('configuration of a real istiod', () => {
  const leftOut: LeftOut[] = [];
  const lost: string[] = [];
  const configuration = relayed(captured(), (resource) => {
    const reduced = reduceResource(resource, EXPECTED);
    leftOut.push(...reduced.leftOut);
    if (!reduced.resource) lost.push(resource.typeUrl);
    return reduced.resource;
  });

  it('is refused unchanged', () => {
    expect(checkConfiguration(relayed(captured()), EXPECTED).length).toBeGreaterThan(50);
  });

  it('passes the gate after reduction', () => {
    expect(checkConfiguration(configuration, EXPECTED)).toEqual([]);
  });

  it('loses no listener or routes, and only the cluster whose workloads istiod does not know', () => {
    expect(lost).toEqual(['type.googleapis.com/envoy.config.cluster.v3.Cluster']);
  });

  it('loses only parts that a workspace refuses, and reports each', () => {
    expect([...new Set(leftOut.map(({ what }) => what))].sort()).toEqual([
      // Added by an EnvoyFilter of the manifests.
      'envoy.config.cluster.v3.Cluster.dns_lookup_family',
      // Headless service: CLUSTER_PROVIDED, which has no meaning behind the tunnel.
      'envoy.config.cluster.v3.Cluster.lb_policy',
      'envoy.config.listener.v3.Listener.socket_options',
      // The virtual host of an undeclared port matches every name; the broker later replaces it by the names of its
      // service.
      'envoy.config.route.v3.VirtualHost',
      // Addresses of the cluster.
      'envoy.config.route.v3.VirtualHost.domains',
      // Access logs, because the agent adds its own, and traces to other hosts.
      'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.Tracing.custom_tags',
      'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.access_log',
      'envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.access_log',
      // TLS to services without a workload that istiod knows.
      'envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext',
      'type.googleapis.com/envoy.config.trace.v3.ZipkinConfig',
      // Added by EnvoyFilters.
      'type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua',
      'type.googleapis.com/envoy.extensions.filters.http.lua.v3.LuaPerRoute',
      'type.googleapis.com/envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit',
      // Plaintext, for workloads outside the mesh.
      'type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer',
      // Only in Istio's own build of Envoy.
      'type.googleapis.com/istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig',
      'type.googleapis.com/stats.PluginConfig',
      'type.googleapis.com/udpa.type.v1.TypedStruct',
    ]);
  });
});
