/**
 * Proves for all calls what every access file change requires: each grant works, its holders reach nothing more, and
 * all other mesh traffic is unchanged.
 */

import { actionOf, providerOf } from '@meshpass/istio';
import type { Endpoint } from '../diff/endpoint.ts';
import { NONE } from '../diff/formula/diagram.ts';
import { type AnalysisContext, callsAllowedByPort, type GrantedPort, serviceOf } from './context.ts';
import { type Finding, type Suspicion, suspicionFindings } from './finding.ts';
import { findUnknownEndpoints } from './unknown.ts';
import { ordinaryCalls } from './workspace-calls.ts';

/**
 * Lists violations.
 * @returns an empty list if the change may be applied
 */
export function findViolations(context: AnalysisContext): readonly Finding[] {
  return [...findUnknownEndpoints(context), ...proveGrants(context), ...proveRest(context)];
}

/** Checks granted ports: everything granted works, and the port's name allows no other calls. */
function proveGrants(context: AnalysisContext): readonly Finding[] {
  const { space, indexes, endpoints, ports } = context;
  const { diagram, set } = space;
  const given = new Set(context.given);
  const givenUsually = new Set([...context.given, ...context.ordinarilyGiven]);
  const byService = Map.groupBy(ports, ({ target }) => serviceOf(target));
  const offered = new Set(endpoints.map((one) => nameOf(one, one.protocol)));
  return endpoints.flatMap((endpoint) => {
    const { workload, port, protocol } = endpoint;
    return endpoint.services.flatMap((service) => {
      const here = byService.get(service) ?? [];
      if (here.length === 0) return [];
      // All grants here concern one port of one Service. If another object declares the protocol of the workload's
      // port, that protocol applies to the holder's calls. On an undeclared port the client chooses the protocol, and
      // only the granted protocol is granted.
      const spoken = speaks(here[0]!.target);
      const meant = spoken === protocol || !offered.has(nameOf(endpoint, spoken));
      const portPolicy = indexes[1].at(workload, port, meant ? spoken : protocol);
      const at = { where: [endpoint], portPolicy };
      const lets = callsAllowedByPort(context, portPolicy);
      const granted = meant ? here : [];
      const refused = granted.map(({ grant: { grant }, target, calls }): Suspicion => {
        const wanted = diagram.andAll([set(calls), set(context.agreed), set(context.forwarded)]);
        const usual = diagram.and(wanted, ordinaryCalls(space, context, { host: target.host, port: target.port.port }));
        const missing = diagram.minus(wanted, lets);
        const usuallyMissing = diagram.minus(usual, lets);
        // An explicit operation must work, except with a header or host that a policy denies. A whole port is granted as
        // far as the mesh allows calls on it, provided that it allows any.
        const fails = usuallyMissing !== NONE && (target.target.allow !== undefined || usuallyMissing === usual);
        return {
          ...at,
          kind: fails ? 'grant-does-not-work' : 'note',
          grant: grant.name,
          given: usuallyMissing === NONE ? given : givenUsually,
          calls: usuallyMissing === NONE ? missing : usuallyMissing,
          sentence: ({ what }) =>
            fails
              ? `grant ${grant.name} does not work: ${what} is refused`
              : `part of grant ${grant.name} is refused: ${what}`,
          source: `${target.target.place.file}:${target.target.place.line}`,
        };
      });
      // The proof assumes that authorizers agree, so report that in a note.
      const authorizers = portPolicy
        .policies()
        .filter(({ policy, refuses }) => actionOf(policy) === 'CUSTOM' && !refuses)
        .flatMap(({ policy, rules }) =>
          here.map(({ grant: { grant }, target, calls }): Suspicion => {
            const works = diagram.andAll([set(calls), set(context.agreed), set(context.forwarded), lets]);
            return {
              ...at,
              kind: 'note',
              grant: grant.name,
              given,
              calls: diagram.and(works, diagram.orAll(rules.map(set))),
              sentence: ({ what }) =>
                `grant ${grant.name} works only if the external authorizer ${providerOf(policy)} agrees: ${what}`,
              source: `${target.target.place.file}:${target.target.place.line}`,
            };
          }),
        );
      const named = set(context.names.get(here[0]!.target.sni)!);
      const reached = diagram.andAll([lets, named, set(context.holders)]);
      const more: Suspicion = {
        ...at,
        kind: 'reaches-more',
        calls: diagram.minus(reached, diagram.orAll(granted.map(({ calls }) => set(calls)))),
        sentence: ({ who, what }) => `${who} would reach more than is granted: ${what}`,
      };
      return [...refused, ...authorizers, more].flatMap((suspicion) => suspicionFindings(context, suspicion));
    });
  });
}

/**
 * Checks all other ports: holders are not accepted under any other name, and no other caller gains or loses anything.
 */
function proveRest(context: AnalysisContext): readonly Finding[] {
  const { space, pairs, holders, grantedNames, ourTokens, agreed } = context;
  const { diagram, set } = space;
  return pairs.flatMap(({ portPolicies: [was, is], where }) => {
    const [passed, passes] = [callsAllowedByPort(context, was), callsAllowedByPort(context, is)];
    const gained = diagram.minus(diagram.minus(passes, passed), set(holders));
    const lost = diagram.minus(diagram.minus(passed, passes), set(holders));
    const at = { where, portPolicy: is };
    const suspicions: Suspicion[] = [
      {
        ...at,
        kind: 'reaches-more',
        calls: diagram.minus(diagram.and(passes, set(holders)), set(grantedNames)),
        sentence: ({ who, what }) => `${who} would reach more than is granted: ${what}`,
      },
      {
        ...at,
        kind: 'changes-others',
        calls: diagram.minus(lost, set(ourTokens)),
        sentence: ({ who, what }) => `${who} would lose ${what}`,
      },
      {
        ...at,
        kind: 'changes-others',
        calls: diagram.minus(gained, set(ourTokens)),
        sentence: ({ who, what }) => `${who} would gain ${what}`,
      },
      {
        ...at,
        kind: 'note',
        // A call with an additional invalid token is not counted as a gain, because no caller has to send one.
        calls: diagram.andAll([gained, set(ourTokens), set(agreed)]),
        sentence: ({ who, what }) =>
          `a policy accepts any token, including identity tokens of workspaces: with one, ${who} would gain ${what}`,
      },
    ];
    return suspicions.flatMap((suspicion) => suspicionFindings(context, suspicion));
  });
}

function nameOf({ workload, port }: Endpoint, spoken: Endpoint['protocol']): string {
  return JSON.stringify([workload.namespace, workload.labels, [...workload.portNames], port, spoken]);
}

function speaks({ port }: GrantedPort['target']): Endpoint['protocol'] {
  return port.protocol === 'tcp' ? 'tcp' : 'http';
}
