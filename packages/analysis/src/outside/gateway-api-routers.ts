/**
 * Creates the routers for Gateways of the Gateway API. The rules of all routes with the same host are sorted by the
 * precedence that the API defines: exact path, longest prefix, method, number of headers, number of query parameters,
 * oldest route, name, and order of the rules. Source: the API reference of HTTPRoute, GRPCRoute and Listener.
 */
import {
  coversHost,
  type GatewayListener,
  type HttpMatch,
  type HttpRouteMatch,
  hostsMeet,
  type MeshView,
  oldestFirst,
} from '@meshpass/istio';
import { items, record } from '@meshpass/istio/members';
import { ALWAYS, all, any, type Condition, opaque } from '../diff/formula/condition.ts';
import {
  commonHosts,
  type EffectiveListener,
  entryListeners,
  entryPointOf,
  routeAttachments,
} from '../exposure/entries/gateway-listeners.ts';
import {
  listRuleExposures,
  matchAlternatives,
  PROTOCOLS,
  type Route,
  rulesOf,
} from '../exposure/entries/gateway-routes.ts';
import type { EntryPoint } from '../exposure/exposure.ts';
import { type Listener, matchCondition } from '../routes/match-condition.ts';
import { type RankedStep, type Router, virtualHostsOf } from './router.ts';
import { targetsAt } from './target.ts';

const KINDS = ['HTTPRoute', 'GRPCRoute', 'TLSRoute', 'TCPRoute'] as const;

/** A route, with the hosts that it has in common with a listener. */
interface Attached {
  readonly route: Route;
  readonly hosts: readonly string[];
  /** An opaque condition if a more specific listener on the same port may receive some of the calls instead. */
  readonly isolated: Condition;
}

/** Lists the routers for Gateways of the Gateway API, including Gateways that are not in the files. */
export function gatewayApiRouters(mesh: MeshView): readonly Router[] {
  const routes = oldestFirst(KINDS.flatMap((kind) => mesh.all(kind) as readonly Route[]));
  const attachments = routes.flatMap((route) => routeAttachments(mesh, route).map((one) => ({ ...one, route })));
  const byListener = Map.groupBy(entryListeners(mesh), ({ gateway: { metadata }, listener }) =>
    JSON.stringify([metadata.namespace, metadata.name, listenerOf(listener)]),
  );
  const known = [...byListener.values()].map((ats): Router => {
    const [{ gateway, listener }] = ats as [EffectiveListener];
    const attached = attachments.flatMap(({ route, met }) =>
      met.filter((at) => ats.includes(at)).map((at) => attachedAt(route, at, ats, met)),
    );
    return routerOf(mesh, attached, listenerOf(listener), entryPointOf(mesh, gateway, ats));
  });
  const absent = attachments.filter(({ entry }) => entry.object === undefined);
  const byEntry = Map.groupBy(absent, ({ entry, route }) => `${entry.name} ${PROTOCOLS[route.kind]}`);
  const elsewhere = [...byEntry.values()].map((some): Router => {
    const [{ entry, route }] = some as [(typeof some)[number]];
    const listener: Listener = { protocol: PROTOCOLS[route.kind], port: undefined };
    const attached = some.map((one) => ({ ...one, isolated: ALWAYS }));
    return routerOf(mesh, attached, listener, entry);
  });
  return [...known, ...elsewhere];
}

function listenerOf({ protocol, port }: GatewayListener): Listener {
  const known = { HTTP: 'http', HTTPS: 'https', TLS: 'tls' } as const;
  return { protocol: known[String(protocol) as keyof typeof known] ?? 'tcp', port };
}

/** @param met the listeners of the Gateway that the route attaches to */
function attachedAt(
  route: Route,
  at: EffectiveListener,
  all: readonly EffectiveListener[],
  met: readonly EffectiveListener[],
): Attached {
  const hosts = commonHosts(at.listener, route);
  // According to the API, only the more specific listener receives such calls, but not every controller implements
  // this.
  const narrower = all.find(({ listener }) => {
    const { hostname } = listener;
    if (hostname === undefined || hostname === at.listener.hostname) return false;
    return coversHost(at.listener.hostname ?? '*', hostname) && hosts.some((host) => hostsMeet(host, hostname));
  });
  const isolated =
    narrower && !met.includes(narrower)
      ? opaque(
          `listener ${narrower.listener.name} has a more specific host than ${at.listener.name}, to which the route attaches`,
        )
      : ALWAYS;
  return { route, hosts, isolated };
}

function routerOf(mesh: MeshView, attached: readonly Attached[], listener: Listener, entry: EntryPoint): Router {
  const hosts = attached.flatMap((one) => {
    const ranked = stepsOf(mesh, one, listener, entry);
    return one.hosts.map((host) => ({ host, on: one.route, ranked }));
  });
  return { listener, entry, virtualHosts: virtualHostsOf(hosts) };
}

function stepsOf(
  mesh: MeshView,
  { route, isolated }: Attached,
  listener: Listener,
  given: EntryPoint,
): readonly RankedStep[] {
  return rulesOf(route).flatMap((rule, index): readonly RankedStep[] => {
    const filters = items(rule.filters);
    const path = ['spec', 'rules', index];
    const redirect = filters.find(({ type }) => type === 'RequestRedirect');
    const own = redirect
      ? { answer: 'redirects it', status: Number(record(redirect.requestRedirect).statusCode ?? 302) }
      : { answer: 'has no destination and answers it with an error', status: 500 };
    const exposures = listRuleExposures(mesh, route, index, [], [given]);
    const targetsFor = (match: HttpMatch | undefined) =>
      exposures.flatMap((exposure) => targetsAt(mesh, exposure, exposure.entries[0]!, match));
    const rewrites = filters.some(({ type, urlRewrite }) => type === 'URLRewrite' && urlRewrite?.path !== undefined);
    const shared = rewrites ? undefined : targetsFor(undefined);
    const alternatives = matchAlternatives(route, rule);
    return (alternatives.length > 0 ? alternatives : [[{}]]).flatMap((matches: readonly HttpMatch[], nth) => {
      const at = alternatives.length > 0 ? [...path, 'matches', nth] : path;
      const rank = rankOf(matches, items(rule.matches)[nth]);
      // A segment prefix is represented by two matches, and the result of a rewrite depends on which of them applies.
      return (rewrites ? matches.map((match) => [match]) : [matches]).map((some): RankedStep => {
        const condition = all([
          any(some.map((match) => matchCondition(match, listener))),
          isolated,
          precedenceOf(some, given),
        ]);
        const targets = shared ?? targetsFor(some[0]);
        return { step: { on: route, path: at, condition, targets, ...(targets.length === 0 && own) }, rank };
      });
    });
  });
}

/**
 * Returns an opaque condition if a match uses a regular expression, because its precedence depends on the controller.
 */
function precedenceOf(matches: readonly HttpMatch[], { proxy }: EntryPoint): Condition {
  const isRegex = matches.some(({ uri }) => uri?.regex !== undefined);
  if (!isRegex || proxy.by !== 'controller') return ALWAYS;
  return opaque(`${proxy.name} decides the precedence of regular expressions`);
}

/**
 * Ranks a match in the same way as Istio: by exact paths, prefixes by length, regular expressions by length, and then
 * by the other fields.
 */
function rankOf(matches: readonly HttpMatch[], written: HttpRouteMatch = {}): RankedStep['rank'] {
  const { uri = {}, headers, queryParams } = matches[0] ?? {};
  const { path, method } = written;
  const prefix = (path?.value ?? '/').replace(/(?<=.)\/+$/, '');
  const length = uri.regex?.length ?? (matches.length === 2 ? prefix.length : (uri.exact ?? uri.prefix ?? '/').length);
  const isPrefix = uri.regex === undefined && (matches.length === 2 || uri.exact === undefined);
  return [
    uri.regex !== undefined ? 0 : isPrefix ? 1 : 2,
    length,
    method === undefined ? 0 : 1,
    Object.keys(record(headers)).length,
    Object.keys(record(queryParams)).length,
  ];
}
