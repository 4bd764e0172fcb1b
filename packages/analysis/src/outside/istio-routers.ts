/** Translates the routing tables of Istio Gateways to routers. */
import { memoize } from '@meshpass/identity';
import type { HttpMatch, HttpRoute, MeshView } from '@meshpass/istio';
import { items, record, texts } from '@meshpass/istio/members';
import { ALWAYS, all, any, type Condition, not, opaque, text } from '../diff/formula/condition.ts';
import {
  gatewayTables,
  type ServedRoute,
  type ServerLocation,
  serverProxy,
} from '../exposure/entries/gateway-tables.ts';
import { routeExposures, toEntryPoint } from '../exposure/entries/virtual-services.ts';
import { trustedHops, whyReadersUnknown } from '../exposure/gateway-pods.ts';
import { hostCondition, type Listener, matchCondition } from '../routes/match-condition.ts';
import type { Router, Step, VirtualHost } from './router.ts';
import { targetsAt } from './target.ts';

/** Lists the routers for all Istio Gateways. */
export function istioRouters(mesh: MeshView): readonly Router[] {
  return gatewayTables(mesh).map((table): Router => {
    const { listener, serverPort, servers, hosts } = table;
    // When a route matches on the port, istiod compares it with the port of the first server.
    const stepsOf = memoize((served: ServedRoute) => stepsOfRoute(mesh, served, { ...listener, port: serverPort }));
    const merged = servers.flatMap(({ server }) => server ?? []);
    const virtualHosts = hosts.map(({ host, on, routes, redirect }): VirtualHost => {
      const redirecting = redirect ? [redirectOf(mesh, redirect)] : [];
      return { host, on, steps: [...redirecting, ...routes.flatMap(stepsOf)] };
    });
    return { listener, entry: toEntryPoint(mesh, servers[0]!, merged), virtualHosts, table };
  });
}

/**
 * Returns the redirect to HTTPS, which does not apply to calls that a trusted proxy received over TLS (Envoy's
 * `require_tls`).
 */
function redirectOf(mesh: MeshView, at: ServerLocation): Step {
  const hops = trustedHops(mesh, serverProxy(at));
  const isPlain = not(text('header:x-forwarded-proto', { form: 'exact', text: 'https' }));
  const condition = hops.every((one) => one > 0)
    ? isPlain
    : hops.includes(0) && new Set(hops).size === 1
      ? ALWAYS
      : any([isPlain, opaque('only some Pods of the gateway trust x-forwarded-proto')]);
  const path = ['spec', 'servers'];
  return { on: at.gateway!, path, condition, targets: [], answer: 'redirects it to HTTPS', status: 301 };
}

/**
 * Translates a route to steps. If it rewrites the path, each match becomes a separate step, because the result of the
 * rewrite depends on the match.
 */
function stepsOfRoute(mesh: MeshView, served: ServedRoute, listener: Listener): readonly Step[] {
  const { route, matches } = served;
  const { rewrite } = route.route ?? {};
  const isSplit = Boolean(rewrite?.uri) && rewrite?.uriRegexRewrite === undefined;
  return (isSplit ? matches.map((one) => [one]) : [matches]).map((some) => stepOf(mesh, served, some, listener));
}

/** @param matches the alternative matches; there is exactly one if the route rewrites the path */
function stepOf(
  mesh: MeshView,
  { at, root, route, readers }: ServedRoute,
  matches: ServedRoute['matches'],
  listener: Listener,
): Step {
  const entry = toEntryPoint(mesh, at, at.server ? [at.server] : []);
  const met = matches.map((match) =>
    route.protocol === 'http' ? matchCondition(match, listener) : serverNameCondition(match),
  );
  const exported = readers === 'all' ? ALWAYS : opaque(whyReadersUnknown(entry, root));
  const targets = routeExposures(mesh, root, route).flatMap((exposure) => {
    const { destination, service } = exposure;
    const [only, ...others] = items(service?.spec.ports);
    // If a destination does not specify a port, the Service's only port is used.
    const port = destination.port ?? (others.length === 0 ? only?.port : undefined);
    const given = { ...exposure, entries: [entry], destination: { ...destination, port } };
    return targetsAt(mesh, given, entry, matches[0]);
  });
  const { corsPolicy, fault } = route.route ?? {};
  const testsClaims = matches.some((match) => testsClaim(match.headers) || testsClaim(match.withoutHeaders));
  const abort = record(record(fault).abort);
  return {
    on: route.on,
    path: route.path,
    condition: all([exported, any(met)]),
    targets,
    ...(targets.length === 0 && route.route && answerOf(route.route)),
    ...(testsClaims && { testsClaims }),
    ...(corsPolicy !== undefined && { answersPreflights: true }),
    ...(targets.length > 0 && Number(record(abort.percentage).value) > 0 && { abortsSome: true }),
  };
}

/** Translates the SNI hosts that select a route for connections that do not use HTTP. */
function serverNameCondition({ sniHosts }: ServedRoute['matches'][number]): Condition {
  const names = texts(sniHosts);
  return names.length === 0 ? ALWAYS : any(names.map(hostCondition));
}

function testsClaim(headers: HttpMatch['headers']): boolean {
  return Object.keys(record(headers)).some((name) => name.toLowerCase().startsWith('@request.auth'));
}

function answerOf({ redirect, directResponse, fault }: HttpRoute): Pick<Step, 'answer' | 'status'> {
  if (redirect !== undefined) return { answer: 'redirects it', status: Number(redirect.redirectCode ?? 301) };
  const { status = Number(record(record(fault).abort).httpStatus) || undefined } = directResponse ?? {};
  const answer = directResponse === undefined ? 'answers it with an error' : 'answers it itself';
  return { answer, ...(status !== undefined && { status }) };
}
