/**
 * Builds a workspace's configuration from istiod's like the broker's relay, with names, tunnel and keys of one grant.
 */
import type { JsonObject, JsonValue } from '@bufbuild/protobuf';
import type { Any } from '@bufbuild/protobuf/wkt';
import type { ExpectedValues, WorkspaceConfiguration } from '../src/index.ts';
import { resourceOf } from './readable.ts';

export interface Captured {
  readonly listeners: JsonObject[];
  readonly clusters: JsonObject[];
  readonly routes: JsonObject[];
}

export const EXPECTED: ExpectedValues = {
  trustDomain: 'cluster.local',
  clusterDomain: 'cluster.local',
  tokenHeader: 'x-meshpass-token',
  grants: ['dev', 'ops'],
};

export const AGENT_SOURCE = {
  resource_api_version: 'V3',
  api_config_source: {
    api_type: 'GRPC',
    transport_api_version: 'V3',
    grpc_services: [{ envoy_grpc: { cluster_name: 'agent' } }],
  },
};

/**
 * Converts captured resources.
 * @param reduce last step of the relay
 */
export function relayed(
  { listeners, clusters, routes }: Captured,
  reduce: (resource: Any) => Any | undefined = (resource) => resource,
  grant = 'dev',
): WorkspaceConfiguration {
  const all = (list: JsonObject[]) =>
    list.flatMap((json) => reduce(resourceOf(renamed(json, grant) as JsonObject)) ?? []);
  return {
    version: 1,
    listeners: all(listeners),
    clusters: all(
      clusters.filter(({ name }) => `${name}`.startsWith('outbound|')).map((json) => tunnelled(json, grant)),
    ),
    routes: all(routes),
  };
}

const NAMES = /^(Blackhole|Passthrough)?outbound\|/;
const NAMED = ['cluster', 'route_config_name'];
const RESOURCE = /v3\.(Listener|Cluster|RouteConfiguration)$/;

function renamed(value: JsonValue, grant: string, key = ''): JsonValue {
  if (Array.isArray(value)) return value.map((item) => renamed(item, grant, key));
  if (typeof value !== 'object' || value === null) return value;
  const type = `${value['@type'] ?? ''}`;
  return Object.fromEntries(
    Object.entries(value).map(([name, inner]) => {
      const own = name === 'name' && (RESOURCE.test(type) || (key === 'clusters' && NAMES.test(`${inner}`)));
      if (typeof inner === 'string' && (own || NAMED.includes(name))) return [name, `${grant}/${inner}`];
      return [name, renamed(inner, grant, name)];
    }),
  );
}

/**
 * Makes a cluster STATIC behind the tunnel, verified by the ids from istiod. Without ids, istiod knows no workload, so
 * the cluster has no endpoint.
 */
function tunnelled({ eds_cluster_config: _, ...cluster }: JsonObject, grant: string): JsonObject {
  const text = JSON.stringify(cluster)
    .replaceAll(/"match_subject_alt_names":(\[[^\]]*\])/g, (_all, list: string) => {
      const typed = (JSON.parse(list) as JsonObject[]).map((matcher) => ({ san_type: 'URI', matcher }));
      return `"match_typed_subject_alt_names":${JSON.stringify(typed)}`;
    })
    .replaceAll(/"name":"default","sds_config":.*?"resource_api_version":"V3"\}/g, secret(grant))
    .replaceAll(/"name":"ROOTCA","sds_config":.*?"resource_api_version":"V3"\}/g, secret('roots'));
  const endpoint = {
    endpoint: {
      address: {
        envoy_internal_address: { server_listener_name: `tunnel/${grant}`, endpoint_id: `${grant}/${cluster.name}` },
      },
    },
    metadata: { filter_metadata: { 'envoy.transport_socket_match': { tlsMode: 'istio' } } },
    load_balancing_weight: 1,
  };
  const endpoints = text.includes('match_typed') ? [{ lb_endpoints: [endpoint], load_balancing_weight: 1 }] : [];
  const assignment = { cluster_name: `${grant}/${cluster.name}`, endpoints };
  return { ...JSON.parse(text), type: 'STATIC', load_assignment: assignment };
}

function secret(name: string): string {
  return `"name":"${name}","sds_config":${JSON.stringify(AGENT_SOURCE)}`;
}
