import { expect, it } from 'vitest';
import { asJson, CLUSTER, messageOf, pack, serviceType, unpack } from '../src/index.ts';

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
  expect(asJson(messageOf(CLUSTER, CLUSTER_JSON))).toEqual(CLUSTER_JSON);
});

it('packs and unpacks messages, and returns undefined for types that were not generated', () => {
  const any = pack(messageOf(CLUSTER, CLUSTER_JSON));
  expect(asJson(unpack(any)!)).toEqual(CLUSTER_JSON);
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
