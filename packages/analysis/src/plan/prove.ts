/**
 * What must hold of every change of the access file, shown for all calls: every grant works, its holders reach nothing else,
 * and all other traffic of the mesh is as before.
 */

import { actionOf, providerOf } from '@meshpass/istio';
import type { Endpoint } from '../diff/endpoint.ts';
import { NONE } from '../diff/formula/diagram.ts';
import { type AnalysisContext, type GrantedPort, letIn, serviceOf } from './context.ts';
import { type Finding, findingsOf, type Suspicion } from './finding.ts';
import { findUnknown } from './unknown.ts';

/** @returns nothing where the change may be applied as it is */
export function prove(context: AnalysisContext): readonly Finding[] {
  return [...findUnknown(context), ...proveGrants(context), ...proveRest(context)];
}

/** At the ports that are granted: what is granted works, and by the name of that port nothing else does. */
function proveGrants(context: AnalysisContext): readonly Finding[] {
  const { space, indexes, endpoints, ports } = context;
  const { diagram, set } = space;
  const given = new Set(context.given);
  const byService = Map.groupBy(ports, ({ target }) => serviceOf(target));
  const offered = new Set(endpoints.map((one) => nameOf(one, one.protocol)));
  return endpoints.flatMap((endpoint) => {
    const { workload, port, protocol } = endpoint;
    return endpoint.services.flatMap((service) => {
      const here = byService.get(service) ?? [];
      if (here.length === 0) return [];
      // All are of one port of one Service. Something else than that may declare what the workload's port speaks: then the holder's
      // calls are judged as that, and on a port where the client chooses nothing is granted to who chooses otherwise.
      const spoken = speaks(here[0]!.target);
      const meant = spoken === protocol || !offered.has(nameOf(endpoint, spoken));
      const portPolicy = indexes[1].at(workload, port, meant ? spoken : protocol);
      const at = { where: [endpoint], portPolicy };
      const lets = letIn(context, portPolicy);
      const granted = meant ? here : [];
      const refused = granted.map(({ grant: { grant }, target, calls }): Suspicion => {
        const wanted = diagram.and(set(calls), set(context.agreed));
        // What is written out is promised. A whole port is what the mesh lets through on it, if that is anything.
        const works = !target.target.allow && diagram.and(wanted, lets) !== NONE;
        return {
          ...{ ...at, kind: works ? 'note' : 'grant-does-not-work', grant: grant.name, given },
          calls: diagram.minus(wanted, lets),
          sentence: ({ what }) =>
            works
              ? `a part of grant ${grant.name} is refused: ${what}`
              : `grant ${grant.name} does not work: ${what} is refused`,
          source: `${target.target.place.file}:${target.target.place.line}`,
        };
      });
      // That they agree is assumed of what works: so it is said.
      const authorizers = portPolicy
        .policies()
        .filter(({ policy, refuses }) => actionOf(policy) === 'CUSTOM' && !refuses)
        .flatMap(({ policy, rules }) =>
          here.map(({ grant: { grant }, target, calls }): Suspicion => {
            const works = diagram.andAll([set(calls), set(context.agreed), lets]);
            return {
              ...{ ...at, kind: 'note', grant: grant.name, given },
              calls: diagram.and(works, diagram.orAll(rules.map(set))),
              sentence: ({ what }) =>
                `grant ${grant.name} works only where the external authorizer ${providerOf(policy)} agrees: ${what}`,
              source: `${target.target.place.file}:${target.target.place.line}`,
            };
          }),
        );
      const named = set(context.names.get(here[0]!.target.sni)!);
      const reached = diagram.andAll([lets, named, set(context.holders)]);
      const more: Suspicion = {
        ...{ ...at, kind: 'reaches-more' },
        calls: diagram.minus(reached, diagram.orAll(granted.map(({ calls }) => set(calls)))),
        sentence: ({ who, what }) => `${who} would reach more than is granted: ${what}`,
      };
      return [...refused, ...authorizers, more].flatMap((suspicion) => findingsOf(context, suspicion));
    });
  });
}

/** Everywhere: holders pass by no other name, and nobody else gains or loses anything. */
function proveRest(context: AnalysisContext): readonly Finding[] {
  const { space, pairs, holders, grantedNames, ourTokens, agreed } = context;
  const { diagram, set } = space;
  return pairs.flatMap(({ portPolicies: [was, is], where }) => {
    const [passed, passes] = [letIn(context, was), letIn(context, is)];
    const gained = diagram.minus(diagram.minus(passes, passed), set(holders));
    const lost = diagram.minus(diagram.minus(passed, passes), set(holders));
    const suspicions: Suspicion[] = [
      {
        ...{ kind: 'reaches-more', where, portPolicy: is },
        calls: diagram.minus(diagram.and(passes, set(holders)), set(grantedNames)),
        sentence: ({ who, what }) => `${who} would reach more than is granted: ${what}`,
      },
      {
        ...{ kind: 'changes-others', where, portPolicy: is },
        calls: diagram.minus(lost, set(ourTokens)),
        sentence: ({ who, what }) => `${who} would lose ${what}`,
      },
      {
        ...{ kind: 'changes-others', where, portPolicy: is },
        calls: diagram.minus(gained, set(ourTokens)),
        sentence: ({ who, what }) => `${who} would gain ${what}`,
      },
      {
        ...{ kind: 'note', where, portPolicy: is },
        // Beside a token that does not verify, which nobody has to carry, it is let past that one: no gain.
        calls: diagram.andAll([gained, set(ourTokens), set(agreed)]),
        sentence: ({ who, what }) =>
          `a policy asks for any token, and an identity token of a workspace is one: with it ${who} would gain ${what}`,
      },
    ];
    return suspicions.flatMap((suspicion) => findingsOf(context, suspicion));
  });
}

function nameOf({ workload, port }: Endpoint, spoken: Endpoint['protocol']): string {
  return JSON.stringify([workload.namespace, workload.labels, [...workload.portNames], port, spoken]);
}

function speaks({ port }: GrantedPort['target']): Endpoint['protocol'] {
  return port.protocol === 'tcp' ? 'tcp' : 'http';
}
