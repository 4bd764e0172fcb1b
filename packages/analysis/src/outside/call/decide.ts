/** Evaluates a single request from a client outside the mesh, at the gateways and at the workloads behind them. */

import { createMemo, memoize } from '@meshpass/identity';
import { type MeshView, requestAuthentications, targetPortOf, trustedProxiesOf, type Workload } from '@meshpass/istio';
import { items } from '@meshpass/istio/members';
import { type Authorizer, createAuthorizer } from '../../evaluate/authorizer.ts';
import type { Call, Decision, HttpCall } from '../../evaluate/call.ts';
import { compileTokenCheck } from '../../evaluate/request-authentication.ts';
import type { Endpoint } from '../../evaluate/target.ts';
import { combineVerdicts, evaluate, type Verdict } from '../../evaluate/verdict.ts';
import { describeObject } from '../../exposure/describe.ts';
import { isPod } from '../../exposure/enforcer.ts';
import { gatewayProxiesByPolicy, patchesAtEntry } from '../../exposure/identity.ts';
import { type Patch, patchesAt, whyMoreListeners } from '../../exposure/patches.ts';
import { evaluateThreeValued } from '../../routes/opaque.ts';
import { gatewayCallers } from '../pods-of.ts';
import { hostConditions, type Router, type Step } from '../router.ts';
import { type OutsideAnswer, type PartialAnswer, refusal, unknownAnswer } from './answer.ts';
import { clientPrincipal, type GatewayRouters, gatewaysOnPort, selectRouter } from './at-gateway.ts';
import { resolveAtDestination } from './destination.ts';
import { type OutsideRequest, type ReceivedRequest, receive } from './request.ts';

export interface OutsideAnswers {
  /** `some` if gateways, destinations or workloads have different verdicts. */
  readonly allowed: Verdict | 'some';
  readonly answers: readonly OutsideAnswer[];
}

/**
 * Determines whether a request from outside the mesh is allowed. It evaluates the gateway's listener, TLS settings,
 * policies and routes, and then the policies of the workload, which sees the gateway as its peer. Only Istio gateways
 * are evaluated.
 * @example
 * ```ts
 * import { canIOutside } from '@meshpass/analysis/evaluate';
 * import { loadManifests, viewMesh } from '@meshpass/istio';
 * const mesh = `{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: public, namespace: ingress},
 *   spec: {selector: {app: gateway}, servers: [{port: {number: 80, protocol: HTTP, name: http}, hosts: ['*']}]}}
 * ---
 * {apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: orders, namespace: shop},
 *   spec: {hosts: [shop.example.com], gateways: [ingress/public], http: [
 *     {match: [{uri: {prefix: /orders}}], route: [{destination: {host: orders, port: {number: 80}}}]}]}}
 * ---
 * {apiVersion: v1, kind: Service, metadata: {name: orders, namespace: shop},
 *   spec: {selector: {app: orders}, ports: [{port: 80, name: http}]}}`;
 * const view = viewMesh(loadManifests(mesh, 'mesh.yaml').resources);
 * const get = (path: string) => ({ method: 'GET', path, authority: 'shop.example.com' });
 * canIOutside(view, { port: 80, http: get('/orders/1') }).answers[0]!.destination; // => 'orders.shop.svc.cluster.local:80'
 * canIOutside(view, { port: 80, http: get('/admin') }).answers[0]!.status; // => 404
 * ```
 */
export function canIOutside(mesh: MeshView, request: OutsideRequest): OutsideAnswers {
  const gateways = gatewaysOnPort(mesh, request.port);
  const answers: readonly OutsideAnswer[] =
    gateways.length === 0
      ? [atNoGateway(mesh, request.port)]
      : gateways.flatMap((gateway) =>
          atGateway(mesh, gateway, request).map((one) => ({ ...one, gateway: gateway[0].entry.name })),
        );
  return { allowed: combineVerdicts(answers.map(({ verdict }) => verdict)), answers };
}

function atNoGateway(mesh: MeshView, port: number): PartialAnswer {
  const patched = mesh.unread ?? whyMoreListeners(mesh);
  return patched === undefined
    ? refusal('listener', `no gateway among the objects listens at port ${port}`)
    : unknownAnswer('listener', patched);
}

function atGateway(mesh: MeshView, gateway: GatewayRouters, request: OutsideRequest): readonly PartialAnswer[] {
  const [{ entry }] = gateway;
  if (mesh.unread !== undefined) return [unknownAnswer('gateway', mesh.unread)];
  if (entry.proxy.by !== 'istio') return [unknownAnswer('gateway', `${entry.name} is not a gateway of Istio`)];
  const router = selectRouter(gateway, request);
  const patched = patchesAtEntry(mesh, entry.proxy);
  if ('verdict' in router)
    return patched.length > 0 ? [unknownAnswer('gateway', describePatch(patched[0]!))] : [router];
  if (!entry.proxy.selector) return [unknownAnswer('gateway', `the Pods of ${entry.name} are not known`)];
  return gatewayProxiesByPolicy(mesh, entry.proxy).flatMap((proxy) => {
    const [patch] = patchesAt(mesh, 'GATEWAY', proxy);
    return patch ? [unknownAnswer('gateway', describePatch(patch))] : atProxy(mesh, router, proxy, request);
  });
}

function describePatch(patch: Patch): string {
  return `${describeObject(patch)} changes the gateway's proxy`;
}

function atProxy(mesh: MeshView, router: Router, proxy: Workload, request: OutsideRequest): readonly PartialAnswer[] {
  if (router.listener.protocol === 'tls') return passedThrough(mesh, router, proxy, request);
  if (!request.http) return [refusal('gateway', 'the gateway expects HTTP', 400)];
  const received = receive(
    request.http,
    request,
    mesh.config.pathNormalization,
    trustedProxiesOf(mesh, isPod(proxy) ? proxy : {}),
  );
  if (!received) return [refusal('gateway', 'the gateway rejects the path', 400)];
  const outcome = byPolicies(mesh, router, proxy, request, received);
  if ('verdict' in outcome) return [outcome];
  const step = stepFor(router, received, request);
  return 'verdict' in step ? [step] : forwarded(mesh, router, step, outcome.http, request);
}

/** Evaluates TLS connections that the gateway does not terminate. Their SNI determines which route applies. */
function passedThrough(
  mesh: MeshView,
  router: Router,
  proxy: Workload,
  request: OutsideRequest,
): readonly PartialAnswer[] {
  const sni = request.tls?.sni?.toLowerCase();
  const texts = new Map([['host', sni ?? '']]);
  const call = { flags: new Set<string>(), texts, lists: new Map(), addresses: new Map() };
  const hosts = hostConditions(router).filter(([, condition]) => evaluateThreeValued(call, condition) === true);
  const steps = hosts
    .flatMap(([host]) => host.steps)
    .filter(({ condition }) => evaluateThreeValued(call, condition) === true);
  const [step] = steps;
  if (steps.length > 1) return [unknownAnswer('route', `several routes have SNI ${sni ?? '(none)'}`)];
  if (!step) return [refusal('tls', `no route has SNI ${sni ?? '(none)'}`)];
  const outcome = byPolicies(mesh, router, proxy, request, undefined);
  return 'verdict' in outcome ? [outcome] : forwarded(mesh, router, step, undefined, request);
}

/** Gateways are treated like sidecars, because neither of them is in ambient mode. */
const AT_GATEWAY: Guard = { proxy: 'sidecar', callerProxy: () => 'sidecar' };
type Guard = Pick<Endpoint, 'proxy' | 'callerProxy'>;

/**
 * Evaluates the gateway's policies. If they allow the request, returns it as the workload would see it without the
 * changes that the route makes.
 * @param received the request, or undefined for connections that the gateway only forwards
 */
function byPolicies(
  mesh: MeshView,
  router: Router,
  proxy: Workload,
  request: OutsideRequest,
  received: ReceivedRequest | undefined,
): PartialAnswer | { readonly http: HttpCall | undefined } {
  const { http, remoteIp } = received ?? {};
  const port = podPort(mesh, proxy, request.port);
  const authorizer = authorizerAt(mesh)(proxy, port, http ? 'http' : 'tcp');
  const { principal, unnamed } = clientPrincipal(router, request.tls?.certificate);
  const call: Call = {
    ...connectionOf(request, port),
    ...(http && { http }),
    ...(principal !== undefined && { principal }),
    ...(remoteIp !== undefined && { remoteIp }),
  };
  const endpoint = { ...AT_GATEWAY, name: router.entry.name, authorizer, port, authority: http?.authority ?? '' };
  const { decision, unknown } = evaluate(endpoint, call);
  if (unknown !== undefined) return unknownAnswer('gateway', unknown);
  if (unnamed && testsPeers(authorizer))
    return unknownAnswer('gateway', 'policies test the client certificate, whose SPIFFE ID is not given');
  if (decision.reason === 'foreign-peer')
    return unknownAnswer('gateway', 'the client certificate belongs to another trust domain');
  return decision.allowed ? { http: http && withoutTokens(mesh, proxy, call, http) } : refusedBy(decision);
}

function connectionOf({ tls, sourceIp, tokens, now }: OutsideRequest, port: number): Call {
  return {
    port,
    ...(tls?.sni !== undefined && { sni: tls.sni }),
    ...(sourceIp !== undefined && { sourceIp }),
    ...(tokens && { tokens }),
    ...(now !== undefined && { now }),
  };
}

const authorizerAt = memoize((mesh: MeshView) => {
  const once = createMemo();
  return (proxy: Workload, port: number, protocol: 'http' | 'tcp') =>
    once(JSON.stringify([proxy.namespace, proxy.labels, port, protocol]), () =>
      createAuthorizer(mesh, proxy, { protocols: new Map([[port, protocol]]) }),
    );
});

function testsPeers({ policies }: Authorizer): boolean {
  const written = JSON.stringify(policies.map(({ spec }) => spec.rules));
  return /"(?:not)?(?:principals|namespaces|serviceAccounts|trustDomains)"|"source\.[a-hj-z]/i.test(written);
}

function refusedBy(decision: Decision): PartialAnswer {
  const { rule, status } = decision;
  const reason =
    decision.reason === 'invalid-token' ? 'the gateway rejects the token' : 'policies of the gateway refuse it';
  return refusal('gateway', reason, status, { decision, ...(rule && { place: rule.place() }) });
}

/** Applies the changes that RequestAuthentications make to the headers. */
function withoutTokens(mesh: MeshView, proxy: Workload, call: Call, http: HttpCall): HttpCall {
  const outcome = compileTokenCheck(requestAuthentications(mesh, proxy))?.(call, http).outcome;
  const headers = (outcome?.valid && outcome.headers) || http.headers || {};
  const left = Object.entries(headers).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]]));
  return { ...http, headers: Object.fromEntries(left) };
}

/**
 * Returns the Pod port that a server's port corresponds to. The two differ if a Service maps the port to another target
 * port.
 */
function podPort(mesh: MeshView, proxy: Workload, port: number): number {
  const mapped = mesh.servicesBefore(proxy).flatMap(({ spec }) => items(spec.ports).filter((one) => one.port === port));
  return mapped[0] ? (targetPortOf(proxy.portNames, mapped[0]) ?? port) : port;
}

/** Finds the route that a request matches. */
function stepFor(
  router: Router,
  { call, unknownFields, http }: ReceivedRequest,
  request: Pick<OutsideRequest, 'tokens'>,
): Step | PartialAnswer {
  const host = hostConditions(router).find(([, condition]) => evaluateThreeValued(call, condition) === true)?.[0];
  if (!host) {
    const place = router.entry.object?.origin.at(['metadata', 'name']);
    return refusal('route', `no route has host ${http.authority}`, 404, place && { place });
  }
  // Route matches on the Host header are case-sensitive, unlike the selection of a virtual host.
  const lower = http.authority.toLowerCase() === http.authority;
  const unknown = lower
    ? unknownFields
    : new Map([...unknownFields, ['host', 'the Host header has upper case letters'] as const]);
  for (const step of host.steps) {
    const truth = evaluateThreeValued(call, step.condition, (field) => unknown.get(field));
    if (step.testsClaims && items(request.tokens).length > 0)
      return unknownAnswer('route', `${describeObject(step.on)} tests claims of the token`, { place: placeOf(step) });
    if (truth === true) return step;
    if (truth !== false) return unknownAnswer('route', truth.unknown, { place: placeOf(step) });
  }
  const place = host.on.origin.at(['metadata', 'name']);
  return refusal('route', `no route of host ${host.host} matches`, 404, { place });
}

function placeOf(step: Step) {
  return step.on.origin.at(step.path);
}

function forwarded(
  mesh: MeshView,
  { entry, listener, table }: Router,
  step: Step,
  http: HttpCall | undefined,
  request: OutsideRequest,
): readonly PartialAnswer[] {
  const route = placeOf(step);
  const at = { place: route, route };
  if (step.answersPreflights && http?.method === 'OPTIONS' && http.headers?.origin !== undefined)
    return [unknownAnswer('route', 'the route may answer a CORS preflight', at)];
  if (step.abortsSome) return [unknownAnswer('route', 'a fault of the route aborts some calls', at)];
  if (step.targets.length === 0)
    return [refusal('route', `${describeObject(step.on)} ${step.answer ?? 'answers it itself'}`, step.status, at)];
  const { proxy } = entry;
  const callers = proxy.by === 'istio' ? gatewayCallers(mesh, proxy) : [];
  const port = (table?.serverPort ?? listener.port)!;
  return step.targets.flatMap((target) =>
    callers.flatMap((peer) =>
      resolveAtDestination(mesh, target, { ...request, http, peer }, port).map((one) => ({ ...one, route })),
    ),
  );
}
