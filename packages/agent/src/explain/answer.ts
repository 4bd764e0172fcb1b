/** What the agent knows of a call before it is made. Nothing in it is secret; whether the call is allowed is for the command to say. */
import type { Message } from '@bufbuild/protobuf';
import type { Any } from '@bufbuild/protobuf/wkt';
import { asJson, LISTENER, ROUTE_CONFIGURATION, unpack } from '@meshpass/envoy';
import type { ReachableService } from '@meshpass/identity/wire';
import type { Credentials } from '../session/enrol.ts';
import { type RouteAnswer, routeOf, targetOf } from './route.ts';
import type { AskedRequest } from './route-match.ts';

export interface AskedCall extends Omit<AskedRequest, 'authority'> {
  /** As the program writes it. */
  readonly host: string;
  readonly port: number;
}

export interface ExplainAnswer {
  readonly session: {
    readonly id: string;
    readonly subject: string;
    readonly login: string;
    readonly grants: readonly string[];
  };
  readonly trustDomain: string;
  readonly tokenHeader: string;
  /** Claims of the identity token that goes along; empty where it cannot be read. */
  readonly claims: Readonly<Record<string, unknown>>;
  /** What the session may reach, in the order of its grants. */
  readonly services: readonly ReachableService[];
  /** SPIFFE id by grant. */
  readonly principals: Readonly<Record<string, string>>;
  /** `127.64.1.2:8080` of what Envoy listens on. */
  readonly listening: readonly string[];
  /** The same of what only the proxy leads to: this user may not listen there. */
  readonly byProxyOnly: readonly string[];
  /** By grant, for those that hold host and port. */
  readonly routes: Readonly<Record<string, RouteAnswer>>;
}

/** By type, then by name: what Envoy was given. */
export type Resources = Readonly<Record<string, ReadonlyMap<string, Any>>>;

/** The services that are meant by a name and a port, as the hosts file has them: one for each grant. */
export function servicesAt(
  services: readonly ReachableService[],
  { host, port }: Pick<AskedCall, 'host' | 'port'>,
): readonly ReachableService[] {
  const name = host.toLowerCase().replace(/\.$/, '');
  return services.filter((one) => one.port === port && (one.host === name || one.aliases.includes(name)));
}

export function explainAnswer(
  { session, mesh, services, svids, identityToken }: Credentials,
  { resources, ...listeners }: Pick<ExplainAnswer, 'listening' | 'byProxyOnly'> & { readonly resources: Resources },
  call: AskedCall,
): ExplainAnswer {
  const { id, subject, login, grants } = session;
  return {
    session: { id, subject, login, grants },
    ...{ trustDomain: mesh.trust_domain, tokenHeader: mesh.token_header, claims: claimsOf(identityToken.value) },
    ...{ services, ...listeners },
    principals: Object.fromEntries([...svids.values()].map(({ grant, spiffeId }) => [grant, spiffeId])),
    routes: Object.fromEntries(servicesAt(services, call).map((one) => [one.grant, routeIn(resources, one, call)])),
  };
}

function routeIn(resources: Resources, service: ReachableService, call: AskedCall): RouteAnswer {
  const { grant, address, port } = service;
  const listener = read(resources[LISTENER]?.get(`${grant}/${address}_${port}`));
  const filters = [...(listener?.filter_chains ?? []), listener?.default_filter_chain ?? {}].flatMap(
    ({ filters: own = [] }) => own,
  );
  const configs = filters.map(({ typed_config: config }: Json) => config ?? {});
  const http = configs.find((config: Json) => config.rds || config.route_config);
  if (http) {
    const routes = http.route_config ?? read(resources[ROUTE_CONFIGURATION]?.get(http.rds.route_config_name));
    if (!routes) return { kind: 'unknown', why: 'its routes have not come from the broker yet', notes: [] };
    return routeOf(routes, { ...call, authority: `${call.host}:${call.port}` });
  }
  const clusters: string[] = configs.flatMap((config: Json) =>
    config.weighted_clusters
      ? config.weighted_clusters.clusters.map(({ name }: Json) => name)
      : config.cluster
        ? [config.cluster]
        : [],
  );
  const to = clusters.flatMap((name) => targetOf(name) ?? []);
  if (to.length === 0)
    return { kind: 'unknown', why: 'the broker has sent no configuration for it that this workspace uses', notes: [] };
  return { kind: 'forward', to, notes: [] };
}

// biome-ignore lint/suspicious/noExplicitAny: JSON of Envoy's messages, read member by member
type Json = any;

function read(any: Any | undefined): Json | undefined {
  const message: Message | undefined = any && unpack(any);
  return message && asJson(message);
}

function claimsOf(token: string): Readonly<Record<string, unknown>> {
  try {
    const claims: unknown = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString('utf8'));
    return typeof claims === 'object' && claims !== null && !Array.isArray(claims)
      ? (claims as Readonly<Record<string, unknown>>)
      : {};
  } catch {
    return {};
  }
}
