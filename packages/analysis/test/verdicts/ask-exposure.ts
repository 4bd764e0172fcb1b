/**
 * Compares lint with can-i: whether an anonymous call through a gateway is allowed. For a route that MP101 reports, the
 * evaluator allows a call at the gateway and one at a workload. For other routes it denies every call.
 */

import {
  type HttpMatch,
  type MeshConfig,
  type MeshView,
  type Resource,
  type VirtualService,
  viewMesh,
} from '@meshpass/istio';
import type { Call as DiffCall } from '../../src/diff/formula/call.ts';
import { tokenLocations } from '../../src/diff/token-condition.ts';
import { type Authorizer, createAuthorizer } from '../../src/evaluate/authorizer.ts';
import type { Decision } from '../../src/evaluate/call.ts';
import { findEndpoints } from '../../src/evaluate/target.ts';
import type { Exposure } from '../../src/exposure/exposure.ts';
import {
  type EnforcementPoint,
  entryEnforcementPoints,
  workloadEnforcementPoints,
} from '../../src/exposure/identity.ts';
import { findAllowedCall } from '../../src/exposure/unauthenticated.ts';
import { lintContext } from '../../src/lint/context.ts';
import { RULES } from '../../src/lint/rules.ts';
import { METHODS, PATHS, pick, type Random } from '../diff/random-policies.ts';
import { GATEWAY } from './random-exposure.ts';
import { asCall, randomTold } from './same-call.ts';
import type { Tally } from './tally.ts';

const openTestRoute = RULES.find(({ code }) => code === 'MP101')!;
/** Port that no policy names. */
const OTHER_PORT = 61_234;
/** Addresses outside all generated ranges. */
const OUTSIDERS = ['198.51.100.1', '11.0.0.0', '203.0.113.9'];

/** @param most maximum questions about single calls of a route without MP101 */
export function askExposure(
  tally: Tally,
  round: number,
  random: Random,
  resources: readonly Resource[],
  config: MeshConfig,
  most: number,
): void {
  const linted = lintContext(resources, { now: 0, rootNamespace: config.rootNamespace });
  const view = viewMesh(resources, config);
  const places = tokenLocations(resources);
  const keyOf = (on: Exposure['on'], path: Exposure['path']) => JSON.stringify([on.metadata.name, path]);
  const found = new Map(
    [...openTestRoute.check(linted)].map((one) => [keyOf(one.on as Exposure['on'], one.path), one]),
  );
  const decide = (authorizer: Authorizer, told: DiffCall, port: number): Decision | undefined => {
    const texts = new Map(told.texts);
    const sni = texts.get('connection.sni');
    texts.delete('connection.sni');
    const call = asCall({ ...told, texts }, port, 'http', places, config);
    return call && authorizer.decide({ ...call, ...(sni !== undefined && { sni }) });
  };
  for (const exposure of linted.exposures) {
    const report = found.get(keyOf(exposure.on, exposure.destinationPath));
    const about = () => ({ route: (exposure.on as VirtualService).spec, message: report?.message });
    const { name, namespace } = exposure.service!.metadata;
    const endpoints = findEndpoints(view, `${name}.${namespace}:${exposure.destination.port}`);
    if (endpoints.some(({ unknown }) => unknown !== undefined)) {
      tally.skip();
      continue;
    }
    if (report) {
      const [use] = exposure.entries;
      const examples = {
        gateway: entryEnforcementPoints(linted.mesh, exposure, use!).flat(),
        workload: workloadEnforcementPoints(linted.mesh, exposure, use!),
      };
      for (const [where, asked] of Object.entries(examples)) {
        const decisions = asked.flatMap((one) => {
          const example = findAllowedCall(one.portPolicy, one.calls);
          if (typeof example === 'string') return [];
          const authorizer = where === 'gateway' ? gatewayGuard(view) : guardFor(view, one);
          return [decide(authorizer, example, one.port ?? OTHER_PORT)];
        });
        // The example cannot exist as described.
        if (decisions.length > 0 && decisions.every((one) => one === undefined)) {
          tally.skip();
          continue;
        }
        const proven = decisions.some((one) => one?.allowed);
        tally.ask(`lint: open at the ${where}`, round, proven, true, about);
      }
      continue;
    }
    for (let left = most; left > 0; left--) {
      const { atGateway, atWorkload } = anonymousCall(random, exposure, config);
      const first = decide(gatewayGuard(view), atGateway, OTHER_PORT);
      const then = endpoints.map(({ authorizer, port }) => decide(authorizer, atWorkload, port));
      if (!first || then.includes(undefined)) tally.skip();
      else {
        const passes = first.allowed && then.some((one) => one!.allowed);
        tally.ask('lint: no call passes', round, !passes, passes, () => ({
          ...about(),
          atGateway,
          atWorkload,
          first,
          then,
        }));
      }
    }
  }
}

/** Creates a gateway's authorizer. Its own servers determine the protocol, not Services. */
function gatewayGuard(view: MeshView): Authorizer {
  const pods = view.workloads.find((one) => one.namespace === GATEWAY.namespace && one.name === GATEWAY.name)!;
  return createAuthorizer(view, pods, { protocols: new Map() });
}

function guardFor(view: MeshView, { proxy }: EnforcementPoint): Authorizer {
  return createAuthorizer(view, proxy);
}

/** Returns a call on the route, as the gateway and as the workload see it. */
function anonymousCall(random: Random, { hosts, matches, route }: Exposure, config: MeshConfig) {
  const told = randomTold(random, config);
  const match: HttpMatch = matches.length > 0 ? pick(random, matches) : {};
  const { prefix, exact } = match.uri ?? {};
  const under = PATHS.filter((one) => one.startsWith(prefix ?? ''));
  const path = exact ?? (random() < 0.8 ? pick(random, under) : `${prefix ?? '/'}x`);
  const to = route?.rewrite?.uri;
  const rest = prefix === undefined ? '' : path.slice(prefix.length);
  const host = pick(random, hosts).toLowerCase();
  const shared = new Map(told.texts);
  for (const field of shared.keys()) if (/^(?:token|peer)\./.test(field)) shared.delete(field);
  shared.set('method', match.method?.exact ?? pick(random, METHODS));
  shared.set('path', path);
  shared.set('host', host === '*' ? told.texts.get('host')! : host.replace('*', 'web'));
  const rewritten = to === undefined ? path : to + rest;
  const outsider = pick(random, OUTSIDERS);
  const remote = ['remote.ip', outsider] as const;
  const own = [
    ['path', rewritten],
    ['peer.trustDomain', config.trustDomain],
    ['peer.namespace', GATEWAY.namespace],
    ['peer.account', GATEWAY.name],
  ] as const;
  const lists: DiffCall['lists'] = new Map();
  const source = told.addresses.get('source.ip')!;
  const atGateway = {
    flags: new Set<string>(),
    texts: shared,
    lists,
    addresses: new Map([['source.ip', outsider], remote]),
  };
  const atWorkload = {
    flags: new Set(['peer']),
    texts: new Map([...shared, ...own]),
    lists,
    addresses: new Map([['source.ip', source], remote]),
  };
  return { atGateway, atWorkload } satisfies Record<string, DiffCall>;
}
