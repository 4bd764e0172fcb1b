/**
 * Collects what the agent knows about a call before it is made. The response contains no secrets. The command that
 * receives the response determines whether the call is allowed.
 */
import type { Message } from '@bufbuild/protobuf';
import type { Any } from '@bufbuild/protobuf/wkt';
import { CLUSTER, LISTENER, ROUTE_CONFIGURATION, toProtoJson, unpack } from '@meshpass/envoy';
import { parseJwsPart } from '@meshpass/identity';
import type { ReachableService } from '@meshpass/identity/wire';
import type { LeftOut } from '../session/broker-answers.ts';
import type { Credentials } from '../session/enrol.ts';
import type { EnvoyResources } from '../xds/discovery.ts';
import { findRoute, parseClusterTarget, type RouteAnswer, type RouteTarget } from './route.ts';
import type { ExplainedRequest } from './route-match.ts';

export interface ExplainedCall extends Omit<ExplainedRequest, 'authority'> {
  /** The host, exactly as the program wrote it. */
  readonly host: string;
  readonly port: number;
}

export interface ExplainResponse {
  readonly session: {
    readonly id: string;
    readonly subject: string;
    readonly login: string;
    readonly grants: readonly string[];
  };
  /** The contact for access requests. Absent if the access file does not specify one. */
  readonly contact?: string | undefined;
  readonly trustDomain: string;
  readonly tokenHeader: string;
  /** The claims of the identity token that is sent with the call. Empty if they cannot be read. */
  readonly claims: Readonly<Record<string, unknown>>;
  /** The services that the session can reach, in the order of its grants. */
  readonly services: readonly ReachableService[];
  /** The SPIFFE IDs of the session, by grant. */
  readonly principals: Readonly<Record<string, string>>;
  /** The addresses of Envoy's listeners, such as `127.64.1.2:8080`. */
  readonly listening: readonly string[];
  /** The addresses that can only be reached through the proxy, because this user may not listen on their ports. */
  readonly byProxyOnly: readonly string[];
  /** The routes of all grants that include the host and port, by grant. */
  readonly routes: Readonly<Record<string, RouteAnswer>>;
}

/** Returns the services with the given host (or hosts file alias) and port. There is one for each grant. */
export function servicesAt(
  services: readonly ReachableService[],
  { host, port }: Pick<ExplainedCall, 'host' | 'port'>,
): readonly ReachableService[] {
  const name = host.toLowerCase().replace(/\.$/, '');
  return services.filter((one) => one.port === port && (one.host === name || one.aliases.includes(name)));
}

/** The current configuration and listeners of Envoy. */
export interface EnvoyState extends Pick<ExplainResponse, 'listening' | 'byProxyOnly'> {
  readonly resources: EnvoyResources;
  /** The parts of istiod's configuration that the broker has omitted for this session. */
  readonly leftOut: readonly LeftOut[];
}

/** Explains a call, based on the session's credentials and Envoy's configuration. */
export function createExplainResponse(
  { session, mesh, services, svids, identityToken }: Credentials,
  { resources, leftOut, ...listeners }: EnvoyState,
  call: ExplainedCall,
): ExplainResponse {
  const { id, subject, login, grants } = session;
  return {
    session: { id, subject, login, grants },
    contact: mesh.contact,
    trustDomain: mesh.trust_domain,
    tokenHeader: mesh.token_header,
    claims: claimsOf(identityToken.value),
    services,
    ...listeners,
    principals: Object.fromEntries([...svids.values()].map(({ grant, spiffeId }) => [grant, spiffeId])),
    routes: Object.fromEntries(
      servicesAt(services, call).map((one) => {
        const route = routeIn(resources, one, call);
        return [one.grant, { ...route, notes: [...route.notes, ...omissions(leftOut)] }];
      }),
    ),
  };
}

/**
 * Describes the omitted parts. The broker reports omissions for all routes together, so it is not known which route is
 * affected.
 */
function omissions(leftOut: readonly LeftOut[]): readonly string[] {
  const parts = leftOut.filter(({ where }) => where === 'RouteConfiguration').map(({ what }) => what);
  return parts.length === 0
    ? []
    : [`the broker omitted from this workspace's routes: ${[...new Set(parts)].join(', ')}`];
}

function routeIn(resources: EnvoyResources, service: ReachableService, call: ExplainedCall): RouteAnswer {
  const route = routeBy(resources, service, call);
  if (route.kind !== 'forward') return route;
  const to = route.to.map((one) => (isEmpty(resources, service.grant, one) ? { ...one, hasNoEndpoint: true } : one));
  return { ...route, to };
}

/**
 * Returns whether the cluster exists but has no endpoints. The broker omits endpoints that do not accept mutual TLS
 * from a sidecar.
 */
function isEmpty(resources: EnvoyResources, grant: string, { host, port, subset = '' }: RouteTarget): boolean {
  const cluster = read(resources[CLUSTER]?.get(`${grant}/outbound|${port}|${subset}|${host}`));
  const localities: readonly Json[] = cluster?.load_assignment?.endpoints ?? [];
  return cluster !== undefined && !localities.some(({ lb_endpoints: endpoints = [] }) => endpoints.length > 0);
}

function routeBy(resources: EnvoyResources, service: ReachableService, call: ExplainedCall): RouteAnswer {
  const { grant, address, port } = service;
  const listener = read(resources[LISTENER]?.get(`${grant}/${address}_${port}`));
  const filters = [...(listener?.filter_chains ?? []), listener?.default_filter_chain ?? {}].flatMap(
    ({ filters: own = [] }) => own,
  );
  const configs = filters.map(({ typed_config: config }: Json) => config ?? {});
  const http = configs.find((config: Json) => config.rds || config.route_config);
  if (http) {
    const routes = http.route_config ?? read(resources[ROUTE_CONFIGURATION]?.get(http.rds.route_config_name));
    if (!routes) return { kind: 'unknown', why: 'its routes have not arrived from the broker yet', notes: [] };
    return findRoute(routes, { ...call, authority: `${call.host}:${call.port}` });
  }
  const clusters: string[] = configs.flatMap((config: Json) =>
    config.weighted_clusters
      ? config.weighted_clusters.clusters.map(({ name }: Json) => name)
      : config.cluster
        ? [config.cluster]
        : [],
  );
  const to = clusters.flatMap((name) => parseClusterTarget(name) ?? []);
  if (to.length === 0) return { kind: 'unknown', why: 'the broker has sent no usable configuration for it', notes: [] };
  return { kind: 'forward', to, notes: [] };
}

// biome-ignore lint/suspicious/noExplicitAny: JSON of Envoy's messages, read member by member
type Json = any;

function read(any: Any | undefined): Json | undefined {
  const message: Message | undefined = any && unpack(any);
  return message && toProtoJson(message);
}

function claimsOf(token: string): Readonly<Record<string, unknown>> {
  const claims = parseJwsPart(token.split('.')[1] ?? '');
  return typeof claims === 'object' && !Array.isArray(claims) ? { ...claims } : {};
}
