/** Evaluates the policies of the workloads behind a route, with the identity of the gateway as the peer. */
import { type AuthorizationRule, type ClientProxy, type MeshView, selects, serviceName } from '@meshpass/istio';
import { items, texts } from '@meshpass/istio/members';
import type { Authorizer } from '../../evaluate/authorizer.ts';
import type { HttpCall } from '../../evaluate/call.ts';
import { type Endpoint, findEndpoints } from '../../evaluate/target.ts';
import { evaluate } from '../../evaluate/verdict.ts';
import { rewrittenHeader, rewrittenPath } from '../../routes/rewrite.ts';
import { clientTlsOf, destinationSettingsOf, serverNameOf } from '../pods-of.ts';
import type { Target } from '../router.ts';
import { formatDestination } from '../router.ts';
import { type PartialAnswer, unknownAnswer } from './answer.ts';
import { GATEWAY_GENERATED_HEADERS, type OutsideRequest } from './request.ts';

/** A call that a gateway makes to a destination. */
interface GatewayCall extends Pick<OutsideRequest, 'tokens' | 'now' | 'sourceIp'> {
  /**
   * The request as the gateway received it, before the route changes it. Undefined for connections that do not use
   * HTTP.
   */
  readonly http: HttpCall | undefined;
  readonly peer: ClientProxy & { readonly serviceAccount: string | undefined };
}

/** @param listenerPort the port of the gateway, which is also the destination port if the route does not specify one */
export function resolveAtDestination(
  mesh: MeshView,
  target: Target,
  call: GatewayCall,
  listenerPort: number,
): readonly PartialAnswer[] {
  const { host, subset, port = listenerPort } = target.destination;
  const destination = formatDestination({ destination: { host, subset, port } });
  const unknown = (reason: string) => [unknownAnswer('workload', reason, { destination })];
  const known = serviceName(host, mesh.config.clusterDomain);
  const service = mesh.serviceAt(host);
  if (!known || !service) return unknown(`${host} is no Service among the objects`);
  if (!items(service.spec.ports).some((one) => one.port === port)) return unknown(`${host} has no port ${port}`);
  const labelsOf = subset === undefined ? {} : destinationSettingsOf(mesh)(call.peer, host).subsetLabels(subset);
  if (!labelsOf) return unknown(`no DestinationRule defines subset ${subset} of ${host}`);
  const tls = clientTlsOf(mesh, call.peer, { host, port, subset });
  if (tls.unknown !== undefined) return unknown(tls.unknown);
  const endpoints = findEndpoints(mesh, `${known.name}.${known.namespace}:${port}`).filter(({ authorizer }) =>
    selects(labelsOf, authorizer.workload.labels),
  );
  if (endpoints.length === 0) return unknown(`no workload of ${host} has the labels of subset ${subset}`);
  const sni = serverNameOf({ host, port, subset });
  return endpoints.map((endpoint) =>
    atWorkload(mesh, endpoint, target, call, { sni, destination, required: tls.required }),
  );
}

interface Sent {
  readonly sni: string;
  readonly destination: string;
  /** The DestinationRule, if any, that makes the gateway use mutual TLS even if the workload does not accept it. */
  readonly required: string | undefined;
}

function atWorkload(
  mesh: MeshView,
  endpoint: Endpoint,
  { rewrite }: Target,
  call: GatewayCall,
  { sni, destination, required }: Sent,
): PartialAnswer {
  const { workload } = endpoint.authorizer;
  const at = {
    destination,
    workload: `${workload.namespace}/${workload.name}:${endpoint.port}`,
    ...(mesh.dataPlane().assumes(workload) && { assumesSidecar: true as const }),
  };
  const sent = call.http && rewritten(call.http, rewrite);
  const { namespace, serviceAccount } = call.peer;
  if (endpoint.waypoint?.forGateways) return unknownAnswer('workload', 'the gateway calls a waypoint', at);
  if (required !== undefined && !acceptsMutualTls(endpoint))
    return unknownAnswer('workload', `${required}, which the workload may not accept`, at);
  const { decision, verdict, unknown } = evaluate(
    { ...endpoint, callerProxy: () => 'gateway' },
    {
      port: endpoint.port,
      principal: `${mesh.config.trustDomain}/ns/${namespace}/sa/${serviceAccount ?? '?'}`,
      sni,
      ...(sent && { http: sent.http }),
      ...(call.tokens && { tokens: call.tokens }),
      ...(call.now !== undefined && { now: call.now }),
      ...(call.sourceIp !== undefined && { remoteIp: call.sourceIp }),
    },
  );
  const undecided = unknown ?? whyUndecided(endpoint.authorizer, call.peer, sent?.unknown);
  if (undecided !== undefined) return unknownAnswer('workload', undecided, at);
  const { status, rule } = decision;
  const reason = verdict === 'yes' ? 'policies of the workload allow it' : 'policies of the workload refuse it';
  return {
    ...at,
    verdict,
    by: 'workload',
    reason,
    decision,
    ...(status !== undefined && { status }),
    ...(rule && { place: rule.place() }),
  };
}

/** Whether the workload has a sidecar that accepts mutual TLS on the port. */
function acceptsMutualTls({ proxy, authorizer, port }: Endpoint): boolean {
  return proxy === 'sidecar' && authorizer.peerMode(port).mode !== 'DISABLE';
}

/**
 * Applies the changes that a route makes to a request. `unknown` contains "path" and the names of headers if their new
 * values cannot be determined.
 */
function rewritten(
  http: HttpCall,
  rewrite: Target['rewrite'],
): { readonly http: HttpCall; readonly unknown: ReadonlySet<string> } {
  const mark = http.path.indexOf('?');
  const [bare, query] = mark < 0 ? [http.path, ''] : [http.path.slice(0, mark), http.path.slice(mark)];
  const path = rewrittenPath(rewrite.path, bare);
  const headers: Record<string, string> = { ...http.headers };
  const unknown = new Set(path === undefined ? ['path'] : []);
  for (const name of new Set(rewrite.headers.map((one) => one.name))) {
    const after = rewrittenHeader(rewrite, name, { value: http.headers?.[name] });
    delete headers[name];
    if (after === 'unknown') unknown.add(name);
    else if (after.value !== undefined) headers[name] = after.value;
  }
  const sent = { ...http, path: `${path ?? bare}${query}`, authority: rewrite.host ?? http.authority, headers };
  return { http: sent, unknown };
}

/**
 * Explains why a decision is unknown: policies test a value that the gateway may change. Returns undefined if they test
 * no such value.
 * @param unknown contains `path` and the names of headers if the route changes them to unknown values
 */
function whyUndecided(
  { policies }: Authorizer,
  { namespace, serviceAccount }: GatewayCall['peer'],
  unknown: ReadonlySet<string> = new Set(),
): string | undefined {
  const rules = policies.flatMap(({ spec }) => items(spec.rules));
  const text = JSON.stringify(rules);
  if (serviceAccount === undefined && rules.some((rule) => testsAccount(rule, namespace)))
    return 'a policy of the workload tests the ServiceAccount of the gateway, which is not among the objects';
  if (/"(?:ipBlocks|notIpBlocks|source\.ip|destination\.ip)"/.test(text))
    return 'a policy of the workload tests the address of the gateway';
  if (unknown.has('path') && /"(?:paths|notPaths|request\.headers\[:path\])"/.test(text))
    return 'a policy of the workload tests the path, which the route changes';
  const headers = [...text.matchAll(/"request\.headers\[([^\]"]+)\]"/g)].map(([, name]) => name!.toLowerCase());
  const header = headers.find((name) => unknown.has(name) || GATEWAY_GENERATED_HEADERS.test(name));
  return header && `a policy of the workload tests header ${header}, which the gateway changes`;
}

/** Whether a rule tests the caller's ServiceAccount in a namespace. */
function testsAccount({ from, when }: AuthorizationRule, namespace: string): boolean {
  const sources = items(from).map(({ source }) => source ?? {});
  const conditions = items(when).filter(({ key }) => /^source\.(?:principal|serviceAccount)$/.test(String(key)));
  const principals = [
    ...sources.flatMap(({ principals, notPrincipals }) => [...texts(principals), ...texts(notPrincipals)]),
    ...conditions.flatMap(({ values, notValues }) => [...texts(values), ...texts(notValues)]),
  ];
  return (
    sources.some((source) => 'serviceAccounts' in source || 'notServiceAccounts' in source) ||
    conditions.some(({ key }) => key === 'source.serviceAccount') ||
    principals.some((one) => one.includes('*') || one.includes(`/ns/${namespace}/`))
  );
}
