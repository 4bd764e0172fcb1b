import { expect, it } from 'vitest';
import { CLUSTER, messageFromJson, pack, serviceType, toProtoJson, unpack } from '../src/index.ts';

const CLUSTER_JSON = {
  name: 'edge',
  connect_timeout: '5s',
  transport_socket: {
    name: 'envoy.transport_sockets.tls',
    typed_config: {
      '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext',
      sni: 'edge.example',
    },
  },
};

it("reads and writes Envoy's JSON, including embedded messages", () => {
  expect(toProtoJson(messageFromJson(CLUSTER, CLUSTER_JSON))).toEqual(CLUSTER_JSON);
});

it('packs and unpacks messages, and returns undefined for types that were not generated', () => {
  const any = pack(messageFromJson(CLUSTER, CLUSTER_JSON));
  expect(toProtoJson(unpack(any)!)).toEqual(CLUSTER_JSON);
  expect(unpack({ ...any, typeUrl: 'type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm' })).toBeUndefined();
});

it('contains the services that carry configuration, secrets and access logs', () => {
  for (const name of [
    'envoy.service.discovery.v3.AggregatedDiscoveryService',
    'envoy.service.secret.v3.SecretDiscoveryService',
    'envoy.service.accesslog.v3.AccessLogService',
  ])
    expect(serviceType(name).methods.length).toBeGreaterThan(0);
});
