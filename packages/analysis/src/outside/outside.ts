/**
 * Computes which calls from outside the mesh can reach each destination, based on the routers in a state of the mesh.
 */
import { memoize } from '@meshpass/identity';
import {
  type AuthorizationPolicy,
  coversHost,
  findMeshConfig,
  type MeshView,
  meshConfigMap,
  type Place,
  type Resource,
  type ResourceOf,
  unreadMeshSettings,
  viewMesh,
} from '@meshpass/istio';
import { canonicalJson } from '../canonical-json.ts';
import { type Call, meets } from '../diff/formula/call.ts';
import { any, type Condition } from '../diff/formula/condition.ts';
import { describeEntry, describeObject } from '../exposure/describe.ts';
import { isCheck, securityPoliciesOf } from '../exposure/entries/gateway-routes.ts';
import type { EntryPoint } from '../exposure/exposure.ts';
import { patchesAtEntry, patchesAtWorkloads } from '../exposure/identity.ts';
import { directRouters } from './direct-routers.ts';
import { gatewayApiRouters } from './gateway-api-routers.ts';
import { ingressRouters } from './ingress-routers.ts';
import { istioRouters } from './istio-routers.ts';
import { gatewayCallers, podSelection } from './pods-of.ts';
import {
  callsReaching,
  formatDestination,
  formatListener,
  hostConditions,
  listenerCondition,
  type Router,
  routerDestinations,
  type Step,
  serverNames,
  serverOf,
  stepsAt,
  type Target,
} from './router.ts';

/** The decision about a call from an anonymous caller. */
export interface OutsideDecision {
  readonly reached: boolean;
  /** A human-readable explanation, including the position in the source. */
  readonly reason: string;
  /** The position of the object that determines the result. Undefined if there is no such object. */
  readonly place: Place | undefined;
}

export interface OutsideReach {
  readonly destinations: readonly string[];
  /** Returns the calls that reach a given destination. */
  readonly callsOf: (destination: string) => Condition;
  /** Decides whether a call reaches a destination, and explains why. */
  readonly decide: (call: Call, destination: string) => OutsideDecision;
  /** Lists the entry points of a destination. */
  readonly entriesOf: (destination: string) => readonly EntryPoint[];
  /** Returns the settings that select the Pods of a destination. */
  readonly selectionOf: (destination: string) => ReadonlyMap<string, string>;
  /** Returns the objects that affect calls to a destination but are not evaluated, with their content. */
  readonly patchesOf: (destination: string) => ReadonlyMap<string, string>;
  /**
   * Returns the server names that require a client certificate although a server of the destination also covers them.
   */
  readonly namesWithCertificate: (destination: string) => ReadonlySet<string>;
  /** The assumptions that were made about entry points. */
  readonly assumed: readonly string[];
}

/** Computes which calls anonymous callers outside the mesh can make in a single state of the mesh. */
export function computeOutsideReach(resources: readonly Resource[], rootNamespace: string): OutsideReach {
  const mesh: MeshView = viewMesh(resources, { ...findMeshConfig(resources), rootNamespace });
  const routers = [
    ...istioRouters(mesh),
    ...gatewayApiRouters(mesh),
    ...ingressRouters(mesh),
    ...directRouters(mesh),
  ].filter(({ virtualHosts }) => virtualHosts.length > 0);
  const leading = routers.flatMap((router) => routerDestinations(router).map((to) => ({ to, router })));
  const byDestination = new Map(
    [...Map.groupBy(leading, ({ to }) => to)].map(([to, some]) => [to, some.map(({ router }) => router)]),
  );
  const targets = routers.flatMap(({ virtualHosts }) =>
    virtualHosts.flatMap(({ steps }) => steps.flatMap((step) => step.targets)),
  );
  const meant = new Map(targets.map((target) => [formatDestination(target), target.destination]));
  const routersOf = (destination: string) => byDestination.get(destination) ?? [];
  const entriesOf = (destination: string) => routersOf(destination).map(({ entry }) => entry);
  return {
    destinations: [...byDestination.keys()],
    callsOf: (destination) => any(routersOf(destination).map((router) => callsReaching(router, destination))),
    decide: (call, destination) => decide(routers, routersOf(destination), call, destination),
    entriesOf,
    selectionOf: (destination) => {
      const callers = entriesOf(destination).flatMap(({ proxy }) =>
        proxy.by === 'istio' ? gatewayCallers(mesh, proxy) : [],
      );
      return podSelection(mesh, meant.get(destination), callers);
    },
    patchesOf: (destination) => {
      const workloads = meant.get(destination);
      const patches = [
        ...entriesOf(destination).flatMap((entry) => [
          ...patchesAtEntry(mesh, entry.proxy),
          ...possiblePolicies(mesh, entry),
        ]),
        ...routersOf(destination).flatMap((router) => checksBefore(mesh, router, destination)),
        ...(workloads ? patchesAtWorkloads(mesh, workloadsAt(mesh, workloads)) : []),
      ];
      return new Map([
        ...unreadSettings(mesh),
        ...patches.map((one) => [describeObject(one), canonicalJson(one.spec)] as const),
      ]);
    },
    namesWithCertificate: (destination) =>
      new Set(routersOf(destination).flatMap((router) => namesTakenFrom(router, routers))),
    assumed: [
      ...new Set(
        routers.flatMap(({ entry }) =>
          entry.object && entry.own.state === 'unknown' ? [`${describeEntry(entry)}: ${entry.own.reason}`] : [],
        ),
      ),
    ],
  };
}

/** Lists the policies that may apply to a Gateway that is in the files but whose Pods are unknown. */
function possiblePolicies(mesh: MeshView, { object, proxy }: EntryPoint): readonly AuthorizationPolicy[] {
  if (!object || proxy.by !== 'istio' || proxy.selector) return [];
  const places = new Set([mesh.config.rootNamespace, object.metadata.namespace, proxy.namespace ?? '']);
  return [...places].flatMap((place) => mesh.within('AuthorizationPolicy', place));
}

/** Lists the SecurityPolicies that apply to routes to a destination. */
function checksBefore(mesh: MeshView, router: Router, destination: string): readonly ResourceOf<'SecurityPolicy'>[] {
  const steps = router.virtualHosts.flatMap((host) => host.steps);
  const leading = steps.filter(({ targets }) => targets.some((one) => formatDestination(one) === destination));
  const policies = [...new Set(leading.map(({ on }) => on))].flatMap((route) =>
    securityPoliciesOf(mesh, route, router.entry),
  );
  return policies.filter(isCheck);
}

/** Returns the mesh settings whose effect is not evaluated, such as the definitions of external authorizers. */
const unreadSettings = memoize(({ resources }: MeshView): ReadonlyMap<string, string> => {
  const map = meshConfigMap(resources);
  const settings = unreadMeshSettings(map?.data?.mesh ?? '');
  return new Map(map && Object.keys(settings).length > 0 ? [[describeObject(map), canonicalJson(settings)]] : []);
});

/**
 * Lists the server names that a server would serve if no other server on its listener required certificates for them.
 */
function namesTakenFrom(router: Router, all: readonly Router[]): readonly string[] {
  const { listener, table } = router;
  const server = serverOf(router);
  if (!server || /^(?:ISTIO_)?MUTUAL$/.test(server.tls?.mode ?? '')) return [];
  const others = all.filter(
    (other) =>
      /^(?:ISTIO_)?MUTUAL$/.test(serverOf(other)?.tls?.mode ?? '') &&
      formatListener(other.listener) === formatListener(listener) &&
      JSON.stringify(other.table?.merged) === JSON.stringify(table?.merged),
  );
  const own = serverNames(router);
  return others
    .flatMap(serverNames)
    .filter((name) => own.some((one) => coversHost(one, name)))
    .map((name) => `${name} at ${formatListener(listener)}`);
}

function workloadsAt(mesh: MeshView, destination: Target['destination']) {
  const workload = mesh.pods.find(({ name, namespace }) => destination.host === `${name}.${namespace}`);
  const service = mesh.serviceAt(destination.host);
  return { destination, service, ...(workload && { pod: { workload, port: destination.port } }) };
}

/**
 * A decision with a rank that states how well it explains why a destination is not reached. Only the best decision
 * needs to be formatted.
 */
type Explained = readonly [rank: number, decision: () => OutsideDecision];

/**
 * The rank of a router that forwards the call to another destination. Routers without the destination cannot rank
 * higher.
 */
const ELSEWHERE = 2;

function decide(
  there: readonly Router[],
  leading: readonly Router[],
  call: Call,
  destination: string,
): OutsideDecision {
  let best: Explained | undefined;
  for (const [index, router] of [...leading, ...there].entries()) {
    if (index >= leading.length && best && best[0] >= ELSEWHERE) break;
    if (!meets(call, listenerCondition(router))) continue;
    const one = explain(router, call, destination);
    if (!best || one[0] > best[0]) best = one;
  }
  const listener = call.texts.get('listener');
  return best?.[1]() ?? { reached: false, reason: `no entry point for ${listener}`, place: undefined };
}

function explain(router: Router, call: Call, destination: string): Explained {
  const host = hostConditions(router).find(([, condition]) => meets(call, condition))?.[0];
  if (!host) {
    const reason = `no host of ${describeEntry(router.entry)} matches`;
    return [0, () => refused(reason, router.entry.object?.origin.at(['metadata', 'name']))];
  }
  const path = call.texts.get('path');
  const steps = path === undefined ? host.steps : stepsAt(host, path);
  const step = steps.find(({ condition }) => meets(call, condition));
  if (!step) {
    return [1, () => refused(`no route of host ${host.host} matches`, host.on.origin.at(['metadata', 'name']), host)];
  }
  const targets = step.targets.filter((target) => formatDestination(target) === destination);
  const target = targets.find(({ condition }) => meets(call, condition)) ?? targets[0];
  const by = describeObject(step.on);
  if (!target) return [ELSEWHERE, () => refused(`${by} ${otherwise(step)}`, step.on.origin.at(step.path))];
  const place = () => step.on.origin.at(target.path);
  if (!meets(call, target.condition)) {
    return [3, () => refused(`${by} leads there, and a policy or check refuses it`, place())];
  }
  return [4, () => ({ reached: true, reason: at(`${by} leads there`, place()), place: place() })];
}

function otherwise({ answer, targets }: Step): string {
  const [first] = targets;
  return first ? `leads to ${formatDestination(first)}` : (answer ?? 'answers it itself');
}

function refused(reason: string, place: Place | undefined, host?: { readonly on: Step['on'] }): OutsideDecision {
  const by = host ? `${reason}, first declared by ${describeObject(host.on)}` : reason;
  return { reached: false, reason: at(by, place), place };
}

function at(reason: string, place: Place | undefined): string {
  return place === undefined || place.line === 0 ? reason : `${reason} (${place.file}:${place.line})`;
}
