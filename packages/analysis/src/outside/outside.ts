/** Reads the calls that reach destinations from outside: the routers of a state, and the destinations of each. */
import { findMeshConfig, type MeshView, type Place, type Resource, viewMesh } from '@meshpass/istio';
import { type Call, meets } from '../diff/formula/call.ts';
import { any, type Condition } from '../diff/formula/condition.ts';
import { describeEntry, describeObject } from '../exposure/describe.ts';
import { directRouters } from './direct-routers.ts';
import { gatewayApiRouters } from './gateway-api-routers.ts';
import { ingressRouters } from './ingress-routers.ts';
import { istioRouters } from './istio-routers.ts';
import { selectionOf } from './pods-of.ts';
import {
  destinationsOf,
  formatDestination,
  hostConditions,
  listenerCondition,
  type Router,
  reaches,
  type Step,
} from './router.ts';

/** Decision about a call of an anonymous caller, and its place. */
export interface OutsideDecision {
  readonly reached: boolean;
  /** In words, with the place. */
  readonly reason: string;
  /** Undefined if no object decides. */
  readonly place: Place | undefined;
}

export interface Outside {
  readonly destinations: readonly string[];
  /** Calls that reach a destination. */
  readonly callsOf: (destination: string) => Condition;
  /** Explains what becomes of a call that should reach a destination. */
  readonly decide: (call: Call, destination: string) => OutsideDecision;
  /** Entry points of a destination that are not among the files. */
  readonly absentOf: (destination: string) => readonly string[];
  /** Whether an entry point of a destination is among the files. */
  readonly hasKnown: (destination: string) => boolean;
  /** Selection of the Pods of a destination. */
  readonly selectionOf: (destination: string) => ReadonlyMap<string, string>;
  /** Assumptions about entry points. */
  readonly assumed: readonly string[];
}

/** Reads a state. */
export function readOutside(resources: readonly Resource[], rootNamespace: string): Outside {
  const mesh: MeshView = viewMesh(resources, { ...findMeshConfig(resources), rootNamespace });
  const routers = [
    ...istioRouters(mesh),
    ...gatewayApiRouters(mesh),
    ...ingressRouters(mesh),
    ...directRouters(mesh),
  ].filter(({ virtualHosts }) => virtualHosts.length > 0);
  const byDestination = new Map<string, Router[]>();
  for (const router of routers) {
    for (const destination of destinationsOf(router)) {
      const known = byDestination.get(destination);
      if (known) known.push(router);
      else byDestination.set(destination, [router]);
    }
  }
  const targets = routers.flatMap(({ virtualHosts }) =>
    virtualHosts.flatMap(({ steps }) => steps.flatMap((step) => step.targets)),
  );
  const meant = new Map(targets.map((target) => [formatDestination(target), target.destination]));
  const routersOf = (destination: string) => byDestination.get(destination) ?? [];
  return {
    destinations: [...byDestination.keys()],
    callsOf: (destination) => any(routersOf(destination).map((router) => reaches(router, destination))),
    decide: (call, destination) => decide(routers, call, destination),
    absentOf: (destination) => [
      ...new Set(routersOf(destination).flatMap(({ entry }) => (entry.object ? [] : [describeEntry(entry)]))),
    ],
    selectionOf: (destination) => selectionOf(mesh, meant.get(destination)),
    hasKnown: (destination) => routersOf(destination).some(({ entry }) => entry.object !== undefined),
    assumed: [
      ...new Set(
        routers.flatMap(({ entry }) =>
          entry.object && entry.own.state === 'unknown' ? [`${describeEntry(entry)}: ${entry.own.reason}`] : [],
        ),
      ),
    ],
  };
}

/** Decisions by how well they explain why a call does not reach a destination. */
type Explained = readonly [rank: number, decision: OutsideDecision];

function decide(routers: readonly Router[], call: Call, destination: string): OutsideDecision {
  const there = routers.filter((router) => meets(call, listenerCondition(router)));
  const explained = there.map((router) => explain(router, call, destination));
  const [best] = explained.sort(([a], [b]) => b - a);
  const listener = call.texts.get('listener');
  return best?.[1] ?? { reached: false, reason: `no entry point for ${listener}`, place: undefined };
}

function explain(router: Router, call: Call, destination: string): Explained {
  const host = hostConditions(router).find(([, condition]) => meets(call, condition))?.[0];
  if (!host) {
    const place = router.entry.object?.origin.at(['metadata', 'name']);
    return [0, refused(`no host of ${describeEntry(router.entry)} matches`, place)];
  }
  const step = host.steps.find(({ condition }) => meets(call, condition));
  if (!step) {
    return [1, refused(`no route of host ${host.host} matches`, host.on.origin.at(['metadata', 'name']), host)];
  }
  const targets = step.targets.filter((target) => formatDestination(target) === destination);
  const target = targets.find(({ condition }) => meets(call, condition)) ?? targets[0];
  const by = describeObject(step.on);
  if (!target) return [2, refused(`${by} ${otherwise(step)}`, step.on.origin.at(step.path))];
  const place = step.on.origin.at(target.path);
  if (!meets(call, target.condition)) return [3, refused(`${by} leads there, and a policy or check refuses it`, place)];
  return [4, { reached: true, reason: at(`${by} leads there`, place), place }];
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
