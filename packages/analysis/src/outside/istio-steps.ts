/**
 * Steps of a VirtualService at a gateway, as `BuildHTTPRoutesForVirtualService` in
 * pilot/pkg/networking/core/route/route.go translates its routes.
 */
import {
  fullHost,
  type HttpMatch,
  type HttpRoute,
  type MeshView,
  selects,
  type VirtualService,
  type Workload,
} from '@meshpass/istio';
import { items, labels, record, text, texts } from '@meshpass/istio/members';
import { ALWAYS, any, type Condition, NEVER } from '../diff/formula/condition.ts';
import { gatewayName } from '../exposure/entries/virtual-services.ts';
import type { EntryPoint, Exposure } from '../exposure/exposure.ts';
import { podsOfGateway } from '../exposure/gateway-pods.ts';
import { httpRoutes, isCatchAll, isFromSome, type RouteAt } from '../routes/http-routes.ts';
import { NO_REWRITE, routeRewrite } from '../routes/rewrite.ts';
import { hostCondition, isForGateway, type Listener, matchCondition } from './match-condition.ts';
import type { Step } from './router.ts';
import { targetsAt } from './target.ts';

/** Returns the steps of a VirtualService, and the one that matches everything. Later routes than that are dropped. */
export function istioSteps(
  mesh: MeshView,
  root: VirtualService,
  listener: Listener,
  entry: EntryPoint,
): { readonly steps: readonly Step[]; readonly last: readonly Step[] } {
  if (listener.protocol === 'tls' || listener.protocol === 'tcp') {
    return { steps: connectionSteps(mesh, root, listener, entry), last: [] };
  }
  const steps: Step[] = [];
  for (const at of httpRoutes(mesh, root)) {
    const matches = at.matches.length === 0 ? [{}] : appliedMatches(mesh, root, at.matches, listener, entry);
    const end = matches.findIndex((match) => isCatchAll(match) && !isFromSome(match));
    const before = end < 0 ? matches : matches.slice(0, end);
    const groups = rewritesPath(at) ? before.map((one) => [one]) : before.length > 0 ? [before] : [];
    steps.push(...groups.map((some) => stepOf(mesh, root, at, some, listener, entry)));
    if (end >= 0) return { steps, last: [stepOf(mesh, root, at, [matches[end]!], listener, entry)] };
  }
  return { steps, last: [] };
}

/** Lists the matches that apply at a gateway, which Istio knows when it translates them. */
function appliedMatches(
  mesh: MeshView,
  root: VirtualService,
  matches: readonly HttpMatch[],
  listener: Listener,
  { name, proxy }: EntryPoint,
): readonly HttpMatch[] {
  const isName = (written: string) => gatewayName(written, root.metadata.namespace) === name;
  const pods = proxy.by === 'istio' ? podsOfGateway(mesh, proxy) : [];
  return matches.flatMap((match): readonly HttpMatch[] => {
    if (match.port && listener.port !== undefined && match.port !== listener.port) return [];
    const { sourceLabels: _labels, sourceNamespace: _namespace, ...rest } = match;
    if (texts(match.gateways).length > 0) return isForGateway(match, isName) ? [rest] : [];
    const meant = new Set(pods.map((pod) => isFromPod(match, pod)));
    if (!isFromSome(match)) return [rest];
    if (meant.size !== 1) return [match];
    return meant.has(true) ? [rest] : [];
  });
}

function isFromPod({ sourceLabels, sourceNamespace }: HttpMatch, pod: Pick<Workload, 'namespace' | 'labels'>): boolean {
  return selects(labels(sourceLabels), pod.labels) && (!sourceNamespace || sourceNamespace === pod.namespace);
}

function rewritesPath({ route }: RouteAt): boolean {
  return Boolean(route?.rewrite?.uri) && route?.rewrite?.uriRegexRewrite === undefined;
}

/** @param matches alternatives; if the route rewrites the path, only one */
function stepOf(
  mesh: MeshView,
  root: VirtualService,
  at: RouteAt,
  matches: readonly HttpMatch[],
  listener: Listener,
  entry: EntryPoint,
): Step {
  const condition = any(matches.map((match) => matchCondition(match, listener)));
  const route: HttpRoute = at.route ?? {};
  const targets = at.destinations.flatMap(({ destination, weight, headers }, index) => {
    const host = text(destination?.host);
    if (host === undefined || ((weight ?? 0) === 0 && at.destinations.length > 1)) return [];
    const path = [...at.path, 'route', index, 'destination', 'host'];
    const rewrite = (match?: HttpMatch) => routeRewrite(route, match, headers);
    const exposure = { ...exposureOf(mesh, root, at, entry, host, destination!), destinationPath: path, rewrite };
    return targetsAt(mesh, exposure, entry, matches[0]);
  });
  const testsClaims = matches.some((match) => testsClaim(match.headers) || testsClaim(match.withoutHeaders));
  const abort = record(record(route.fault).abort);
  return {
    on: at.on,
    path: at.path,
    condition,
    targets,
    ...(targets.length === 0 && answerOf(route)),
    ...(testsClaims && { testsClaims }),
    ...(route.corsPolicy !== undefined && { answersPreflights: true }),
    ...(targets.length > 0 && Number(record(abort.percentage).value) > 0 && { abortsSome: true }),
  };
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

function exposureOf(
  mesh: MeshView,
  root: VirtualService,
  at: Pick<RouteAt, 'on' | 'path' | 'protocol' | 'route'>,
  entry: EntryPoint,
  host: string,
  { subset, port }: { readonly subset?: string; readonly port?: { readonly number?: number } },
): Exposure {
  const full = fullHost(host, at.on.metadata.namespace, mesh.config.clusterDomain);
  const service = mesh.serviceAt(full);
  const [only, ...others] = items(service?.spec.ports);
  return {
    on: at.on,
    root,
    path: at.path,
    destinationPath: at.path,
    protocol: at.protocol,
    entries: [entry],
    hosts: [],
    matches: [],
    rewrite: () => NO_REWRITE,
    route: at.route,
    // Without a port, the Service's only port is meant.
    destination: { host: full, subset, port: port?.number ?? (others.length === 0 ? only?.port : undefined) },
    service,
  };
}

/** Routes of connections: by SNI for TLS, in order. */
function connectionSteps(mesh: MeshView, root: VirtualService, listener: Listener, entry: EntryPoint): readonly Step[] {
  const protocol = listener.protocol === 'tls' ? 'tls' : 'tcp';
  const isName = (written: string) => gatewayName(written, root.metadata.namespace) === entry.name;
  const routes: readonly {
    readonly match?: readonly object[];
    readonly route?: readonly { readonly destination?: object }[];
  }[] = items(root.spec[protocol]);
  return routes.map((route, index): Step => {
    const path = ['spec', protocol, index];
    const matches = items(route.match as readonly (HttpMatch & { readonly sniHosts?: readonly string[] })[]);
    const conditions = matches
      .filter((match) => isForGateway(match, isName))
      .map((match): Condition => {
        if (match.port !== undefined && listener.port !== undefined && match.port !== listener.port) return NEVER;
        const names = texts(match.sniHosts);
        return names.length === 0 ? ALWAYS : any(names.map(hostCondition));
      });
    const targets = items(route.route).flatMap(({ destination }, nth) => {
      const host = text(record(destination).host);
      if (host === undefined) return [];
      const at = { on: root, path, protocol, route: undefined } as const;
      const exposure = exposureOf(mesh, root, at, entry, host, destination as { readonly subset?: string });
      const written = [...path, 'route', nth, 'destination', 'host'];
      return targetsAt(mesh, { ...exposure, destinationPath: written }, entry);
    });
    return { on: root, path, condition: matches.length === 0 ? ALWAYS : any(conditions), targets };
  });
}
