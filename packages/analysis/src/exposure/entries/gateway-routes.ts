/**
 * Translates Gateway API routes to VirtualService matches. Source: the references of HTTPRoute, GRPCRoute, TLSRoute,
 * TCPRoute and ReferenceGrant.
 */

import {
  type BackendRef,
  type BackendTLSPolicy,
  fullHost,
  type GRPCRoute,
  type GrpcRouteMatch,
  type HTTPRoute,
  type HttpMatch,
  type HttpRouteMatch,
  type KubeObject,
  type MeshView,
  type ResourceOf,
  type RouteFilter,
  type Service,
  type StringMatch,
  type TCPRoute,
  type TLSRoute,
  targetRefs,
  type ValueMatch,
} from '@meshpass/istio';
import { distinct, items, labels } from '@meshpass/istio/members';
import { filterRewrite } from '../../routes/rewrite.ts';
import { segmentPrefix } from '../../routes/text-match.ts';
import type { EntryPoint, Exposure, Identity } from '../exposure.ts';
import { GATEWAY_GROUP, routeAttachments } from './gateway-listeners.ts';

export type Route = HTTPRoute | GRPCRoute | TLSRoute | TCPRoute;
export type Rule = NonNullable<HTTPRoute['spec']['rules']>[number];

export const PROTOCOLS = { HTTPRoute: 'http', GRPCRoute: 'http', TLSRoute: 'tls', TCPRoute: 'tcp' } as const;

/** Lists the destinations that Gateway API routes expose through Gateways. */
export function listGatewayRouteExposures(mesh: MeshView): readonly Exposure[] {
  return (['HTTPRoute', 'GRPCRoute', 'TLSRoute', 'TCPRoute'] as const).flatMap((kind) =>
    (mesh.all(kind) as readonly Route[]).flatMap((route) => {
      // Gateways for which the route has the same hosts are combined into one exposure with multiple entry points.
      const through = [...Map.groupBy(routeAttachments(mesh, route), ({ hosts }) => hosts.join(' ')).values()];
      return through.flatMap((attachments) =>
        rulesOf(route).flatMap((_, index) =>
          listRuleExposures(
            mesh,
            route,
            index,
            attachments[0]!.hosts,
            attachments.map(({ entry }) => entry),
          ),
        ),
      );
    }),
  );
}

/**
 * Lists the destinations that a rule exposes through the route's entry points.
 * @param hosts the hosts that the route and the entry points have in common
 */
export function listRuleExposures(
  mesh: MeshView,
  route: Route,
  index: number,
  hosts: readonly string[],
  entries: readonly EntryPoint[],
): readonly Exposure[] {
  const rule = rulesOf(route)[index]!;
  const filters = items(rule.filters);
  if (filters.some(({ type }) => type === 'RequestRedirect')) return [];
  const path = ['spec', 'rules', index];
  const matches = matchesOf(route, rule);
  return items(rule.backendRefs).flatMap((backend, nth): readonly Exposure[] => {
    const host = hostOf(mesh, route, backend);
    if (host === undefined || backend.weight === 0) return [];
    const service = mesh.serviceAt(host);
    const through = entries.filter(({ proxy }) => !failsTls(mesh, service, backend.port, proxy));
    if (through.length === 0) return [];
    const applied = [...filters, ...items((backend as { readonly filters?: readonly RouteFilter[] }).filters)];
    const rewrite = (match: HttpMatch | undefined) => filterRewrite(applied, match);
    return [
      {
        on: route,
        root: route,
        path,
        destinationPath: [...path, 'backendRefs', nth, 'name'],
        protocol: PROTOCOLS[route.kind],
        entries: through.map((entry) => withPolicy(mesh, route, withChecks(entry, applied))),
        hosts,
        matches,
        rewrite,
        route: rule.name === undefined ? undefined : { name: rule.name },
        destination: { host, subset: undefined, port: backend.port },
        service,
      },
    ];
  });
}

export function rulesOf({ spec }: Route): readonly Rule[] {
  return items(spec.rules as readonly Rule[]);
}

/** The filters that may authenticate callers. The files do not show how they do so. */
const CHECKS = new Set(['ExtensionRef', 'ExternalAuth']);

/** Adds the checks made by a rule's filters to an entry point. */
function withChecks(entry: EntryPoint, filters: readonly RouteFilter[]): EntryPoint {
  const check = filters.find(({ type }) => CHECKS.has(String(type)));
  if (!check || entry.own.state === 'required') return entry;
  const { kind, name } = check.extensionRef ?? {};
  const own: Identity = {
    state: 'assumed',
    reason: `the route has the filter ${kind ?? check.type} ${name ?? ''}`.trim(),
  };
  return { ...entry, own };
}

/** The SecurityPolicy fields that authenticate or authorize calls. */
const POLICY_CHECKS = ['apiKeyAuth', 'authorization', 'basicAuth', 'extAuth', 'jwt', 'oidc'];

/** Checks whether a SecurityPolicy authenticates or authorizes calls. */
export function isCheck({ spec }: ResourceOf<'SecurityPolicy'>): boolean {
  return POLICY_CHECKS.some((member) => spec[member] !== undefined);
}

/**
 * Lists the Envoy Gateway SecurityPolicies that apply to a route. A policy can target the route itself or its Gateway.
 * Policies for the route replace those for the Gateway, even if they only configure CORS. Source:
 * https://gateway.envoyproxy.io/docs/concepts/gateway_api_extensions/security-policy/
 */
export function securityPoliciesOf(
  mesh: MeshView,
  route: KubeObject,
  { object, proxy }: EntryPoint,
): readonly ResourceOf<'SecurityPolicy'>[] {
  if (proxy.by !== 'controller') return [];
  const targeting = ({ metadata }: KubeObject, kind: string) =>
    mesh
      .within('SecurityPolicy', metadata.namespace)
      .filter(({ spec }) => targetRefs(spec).some((one) => one.kind === kind && one.name === metadata.name));
  const ofRoute = targeting(route, route.kind);
  return ofRoute.length > 0 || !object ? ofRoute : targeting(object, 'Gateway');
}

function withPolicy(mesh: MeshView, route: Route, entry: EntryPoint): EntryPoint {
  if (entry.own.state !== 'unknown') return entry;
  const policies = securityPoliciesOf(mesh, route, entry);
  const [policy] = policies;
  if (!policy || !policies.every(isCheck)) return entry;
  return { ...entry, own: { state: 'assumed', reason: `SecurityPolicy ${policy.metadata.name} may require one` } };
}

/**
 * Resolves a backend to a host. Returns undefined if the backend is not part of the mesh, or if it is in another
 * namespace and no ReferenceGrant allows the reference.
 */
function hostOf(mesh: MeshView, route: Route, backend: BackendRef): string | undefined {
  const { group = '', kind = 'Service', name, namespace = route.metadata.namespace } = backend;
  if (name === undefined) return undefined;
  if (kind === 'Hostname' && group === 'networking.istio.io') return name;
  if (kind !== 'Service' || (group !== '' && group !== 'core')) return undefined;
  if (namespace !== route.metadata.namespace && !isGranted(mesh, route, namespace, name)) return undefined;
  return fullHost(name, namespace, mesh.config.clusterDomain);
}

function isGranted(mesh: MeshView, route: Route, namespace: string, name: string): boolean {
  return mesh
    .within('ReferenceGrant', namespace)
    .some(
      ({ spec }) =>
        items(spec.from).some(
          (from) =>
            from.group === GATEWAY_GROUP && from.kind === route.kind && from.namespace === route.metadata.namespace,
        ) &&
        items(spec.to).some(
          ({ group = '', kind, name: only }) =>
            group === '' && kind === 'Service' && (only === undefined || only === name),
        ),
    );
}

/** Translates the matches of a rule. Returns an empty list if one of them matches every call. */
function matchesOf(route: Route, rule: Rule): readonly HttpMatch[] {
  const matches = matchAlternatives(route, rule).flat();
  return route.kind === 'HTTPRoute' && matches.some((match) => Object.keys(match).length === 0) ? [] : matches;
}

/** Translates each match of a rule separately. A segment prefix becomes two Istio matches. */
export function matchAlternatives(route: Route, rule: Rule): readonly (readonly HttpMatch[])[] {
  if (route.kind === 'HTTPRoute') return items(rule.matches).map(httpMatches);
  if (route.kind === 'GRPCRoute')
    return items(rule.matches as readonly GrpcRouteMatch[]).map((one) => [grpcMatch(one)]);
  return [];
}

function httpMatches({ path, method, headers, queryParams }: HttpRouteMatch): readonly HttpMatch[] {
  const rest: HttpMatch = {
    ...(method !== undefined && { method: { exact: method } }),
    ...(items(headers).length > 0 && { headers: valuesOf(items(headers)) }),
    ...(items(queryParams).length > 0 && { queryParams: valuesOf(items(queryParams), true) }),
  };
  const { type = 'PathPrefix', value = '/' } = path ?? {};
  if (type === 'Exact') return [{ ...rest, uri: { exact: value } }];
  if (type === 'RegularExpression') return [{ ...rest, uri: { regex: value } }];
  const prefixes = segmentPrefix(value);
  return prefixes.length === 0 ? [rest] : prefixes.map((uri) => ({ ...rest, uri }));
}

/** Translates a gRPC match to HTTP, because gRPC calls are POST requests to `/SERVICE/METHOD`. */
function grpcMatch({ method, headers }: GrpcRouteMatch): HttpMatch {
  const { type = 'Exact', service, method: called } = method ?? {};
  const uri = grpcPath(type, service, called);
  return {
    method: { exact: 'POST' },
    ...(uri && { uri }),
    ...(items(headers).length > 0 && { headers: valuesOf(items(headers)) }),
  };
}

function grpcPath(type: string, service: string | undefined, method: string | undefined): StringMatch | undefined {
  if (service === undefined && method === undefined) return undefined;
  if (type !== 'Exact') return { regex: `/${service ?? '[^/]+'}/${method ?? '.+'}` };
  if (service === undefined) return { regex: `/[^/]+/${method}` };
  return method === undefined ? { prefix: `/${service}/` } : { exact: `/${service}/${method}` };
}

/**
 * Translates matches of headers or query parameters. If a name is repeated, only its first match is used. Header names
 * are case-insensitive.
 */
function valuesOf(matches: readonly ValueMatch[], hasCase = false): Readonly<Record<string, StringMatch>> {
  const nameOf = ({ name = '' }: ValueMatch) => (hasCase ? name : name.toLowerCase());
  return Object.fromEntries(
    distinct(matches, nameOf).map(({ name = '', type, value = '' }) => [
      name,
      type === 'RegularExpression' ? { regex: value } : { exact: value },
    ]),
  );
}

/**
 * Checks whether every call from a proxy to a Service fails because no certificate reference in its BackendTLSPolicy is
 * valid. References are invalid if they refer to an empty ConfigMap in the input, or to a kind that Istio does not
 * support. Source: the BackendTLSPolicy reference; `getBackendTLSCredentialName` in
 * pilot/pkg/config/kube/gateway/backend_policies.go.
 */
function failsTls(
  mesh: MeshView,
  service: Service | undefined,
  port: number | undefined,
  { by }: EntryPoint['proxy'],
): boolean {
  const policy = service && policyOf(mesh, service, port);
  const references = items(policy?.spec.validation?.caCertificateRefs);
  return (
    references.length > 0 &&
    references.every(({ group = '', kind, name }) =>
      group === '' && kind === 'ConfigMap' ? isEmptyConfigMap(mesh, service!.metadata.namespace, name) : by === 'istio',
    )
  );
}

/**
 * Returns the policy for a port. A policy for the port takes precedence over one for the whole Service, and an older
 * policy over a newer one.
 */
function policyOf(mesh: MeshView, service: Service, port: number | undefined): BackendTLSPolicy | undefined {
  const name = items(service.spec.ports).find((one) => one.port === port)?.name;
  const targeting = (section: string | undefined) =>
    mesh
      .within('BackendTLSPolicy', service.metadata.namespace)
      .find(({ spec }) =>
        items(spec.targetRefs).some(
          (one) => one.kind === 'Service' && one.name === service.metadata.name && one.sectionName === section,
        ),
      );
  return (name === undefined ? undefined : targeting(name)) ?? targeting(undefined);
}

function isEmptyConfigMap(mesh: MeshView, namespace: string, name: string | undefined): boolean {
  const found = mesh.within('ConfigMap', namespace).find(({ metadata }) => metadata.name === name);
  return found !== undefined && !labels(found.data)['ca.crt'];
}
