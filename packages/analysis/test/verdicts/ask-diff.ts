/** Compares diff with can-i: the calls that diff considers allowed before and after, and its examples. */

import {
  type MeshConfig,
  type MeshView,
  type Resource,
  serviceWaypoint,
  viewMesh,
  withCreationTimes,
} from '@meshpass/istio';
import { type Change, compareMeaning, indexStates } from '../../src/diff/compare.ts';
import { type Endpoint, endpointsOf } from '../../src/diff/endpoint.ts';
import { type Call as DiffCall, meets } from '../../src/diff/formula/call.ts';
import type { PolicyIndex, ServedPort } from '../../src/diff/policy-index.ts';
import { type TokenLocations, tokenLocations } from '../../src/diff/token-condition.ts';
import { whyUnknown } from '../../src/diff/unknown.ts';
import { type Authorizer, createAuthorizer } from '../../src/evaluate/authorizer.ts';
import type { Call } from '../../src/evaluate/call.ts';
import { compileWaypointAuthorizer, decideThroughWaypoint } from '../../src/evaluate/ways.ts';
import { pick, type Random } from '../diff/random-policies.ts';
import { asCall, randomTold } from './same-call.ts';
import type { Tally } from './tally.ts';

/** Representatives of ports that no object names. */
const OTHER_PORTS = [61_234, 7070, 9999];

type Guard = Pick<Authorizer, 'decide'>;

export interface Pair {
  readonly before: readonly Resource[];
  readonly after: readonly Resource[];
  readonly config: MeshConfig;
}

/** @param most maximum questions about single calls */
export function askDiff(tally: Tally, round: number, random: Random, pair: Pair, most: number): void {
  const { before, config } = pair;
  // Both commands read manifests as applied to the existing objects.
  const after = withCreationTimes(pair.after, before);
  const views = [viewMesh(before, config), viewMesh(after, config)] as const;
  const books = indexStates(before, after, config);
  const places = tokenLocations([...before, ...after]);
  const comparison = compareMeaning(before, pair.after, config, { listed: 5 });
  const endpoints = endpointsOf([...before, ...after], books, config).filter(
    ({ workload }) => workload.namespace === 'shop',
  );
  const authorizers = guardsOf(views);
  const portOf = ({ workload, port }: Endpoint): number => {
    if (port !== undefined) return port;
    const key = workloadKey(workload);
    const named = endpoints.filter((one) => workloadKey(one.workload) === key).map((one) => one.port);
    return pick(
      random,
      OTHER_PORTS.filter((one) => !named.includes(one)),
    );
  };

  for (const change of comparison.changes) {
    for (const endpoint of change.where.slice(0, 2))
      askExample(tally, round, change, endpoint, portOf(endpoint), authorizers(endpoint), places, config);
  }
  for (let left = most; left > 0 && endpoints.length > 0; left--) {
    const endpoint = pick(random, endpoints);
    if (whyUnknown(books, endpoint) !== undefined) {
      tally.skip();
      continue;
    }
    askCall(
      tally,
      round,
      randomTold(random, config),
      endpoint,
      portOf(endpoint),
      authorizers(endpoint),
      books,
      places,
      config,
      comparison,
    );
  }
}

/** Checks that one state allows a change's example and the other does not. */
function askExample(
  tally: Tally,
  round: number,
  { kind, example, who, what }: Change,
  endpoint: Endpoint,
  port: number,
  [was, is]: readonly [Guard, Guard],
  places: TokenLocations,
  config: MeshConfig,
): void {
  const call = asCall(example, port, endpoint.protocol, places, config);
  if (!call) {
    tally.skip();
    return;
  }
  const [before, after] = [was.decide(call), is.decide(call)];
  const agrees = kind === 'gains' ? !before.allowed && after.allowed : before.allowed && !after.allowed;
  tally.ask('diff: example', round, agrees, after.allowed, () => ({
    kind,
    who,
    what,
    endpoint: nameOf(endpoint),
    call,
    before,
    after,
  }));
}

function askCall(
  tally: Tally,
  round: number,
  told: DiffCall,
  endpoint: Endpoint,
  actual: number,
  pair: readonly [Guard, Guard],
  books: readonly [PolicyIndex, PolicyIndex],
  places: TokenLocations,
  config: MeshConfig,
  { changes, more }: { readonly changes: readonly Change[]; readonly more: boolean },
): void {
  const { workload, port, protocol, through } = endpoint;
  const call = asCall(told, actual, protocol, places, config);
  if (!call || (through && call.principal === undefined)) {
    tally.skip();
    return;
  }
  const decided = pair.map((authorizer, index) => {
    const decision = authorizer.decide(call);
    const said = meets(told, books[index]!.at(workload, port, protocol, through).allowed);
    tally.ask('diff: call', round, said === decision.allowed, decision.allowed, () => ({
      endpoint: nameOf(endpoint),
      state: index === 0 ? 'before' : 'after',
      said,
      decision,
      call,
    }));
    return decision.allowed;
  });
  // If diff lists no change at a port, no call changes there.
  // Changes of callers that take another way are not listed.
  const listed =
    more ||
    endpoint.besides !== undefined ||
    changes.some(({ where }) => where.some((one) => nameOf(one) === nameOf(endpoint)));
  tally.ask('diff: no change', round, decided[0] === decided[1] || listed, decided[1]!, () => ({
    endpoint: nameOf(endpoint),
    decided,
    call,
  }));
}

/** Returns the authorizers of a workload in both states, including representatives of others. */
function guardsOf(views: readonly [MeshView, MeshView]): (endpoint: Endpoint) => readonly [Guard, Guard] {
  const known = new Map<string, readonly [Guard, Guard]>();
  return ({ workload, through }) => {
    const key = `${workloadKey(workload)} ${JSON.stringify(through)}`;
    let pair = known.get(key);
    if (!pair) {
      const [was, is] = views.map((view) => {
        const authorizer = createAuthorizer(view, { ...workload, kind: view.proxyKind(workload.labels) });
        const guard = through && waypointBefore(view, workload, through);
        return guard ? { decide: (call: Call) => decideThroughWaypoint(guard, authorizer, call)[0]! } : authorizer;
      }) as [Guard, Guard];
      pair = [was, is];
      known.set(key, pair);
    }
    return pair;
  };
}

function waypointBefore(view: MeshView, workload: Endpoint['workload'], { name, port }: ServedPort) {
  const service = view.within('Service', workload.namespace).find(({ metadata }) => metadata.name === name);
  const waypoint =
    service && view.dataPlane().proxyOf(workload) === 'ztunnel' && serviceWaypoint(view, service)?.waypoint;
  return waypoint ? compileWaypointAuthorizer(view, waypoint, service!, port) : undefined;
}

function nameOf({ workload, port, protocol, through }: Endpoint): string {
  return `${workloadKey(workload)} ${port ?? 'other'} ${protocol} ${through?.name}`;
}

function workloadKey({ namespace, labels, portNames }: Endpoint['workload']): string {
  return JSON.stringify([namespace, labels, [...portNames]]);
}
