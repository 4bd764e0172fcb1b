/**
 * What must hold of every change of the access file, shown for all calls: every grant works, its holders reach nothing else,
 * and all other traffic of the mesh is as before.
 */
import type { Endpoint } from '../diff/compare.ts';
import { NONE } from '../diff/diagram.ts';
import { actionOf, providerOf } from '../istio/authorization-policy.ts';
import { type Finding, findingsOf, type Suspicion } from './finding.ts';
import { type GrantedPort, type Ground, letIn, serviceOf } from './ground.ts';
import { findUnknown } from './unknown.ts';

/** @returns nothing where the change may be applied as it is */
export function prove(ground: Ground): readonly Finding[] {
  return [...findUnknown(ground), ...proveGrants(ground), ...proveRest(ground)];
}

/** At the ports that are granted: what is granted works, and by the name of that port nothing else does. */
function proveGrants(ground: Ground): readonly Finding[] {
  const { space, books, endpoints, ports } = ground;
  const { diagram, set, withText } = space;
  const given = new Set(ground.given);
  const byService = Map.groupBy(ports, ({ target }) => serviceOf(target));
  return endpoints.flatMap((endpoint) => {
    const guard = books[1].at(endpoint.workload, endpoint.port, endpoint.protocol);
    const at = { where: [endpoint], guard };
    const lets = letIn(ground, guard);
    return endpoint.services.flatMap((service) => {
      const here = (byService.get(service) ?? []).filter(({ target }) => speaks(target) === endpoint.protocol);
      if (here.length === 0) return [];
      const refused = here.map(({ grant: { grant }, target, calls }): Suspicion => {
        const wanted = diagram.and(set(calls), set(ground.agreed));
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
      const authorizers = guard
        .policies()
        .filter(({ policy, refuses }) => actionOf(policy) === 'CUSTOM' && !refuses)
        .flatMap(({ policy, rules }) =>
          here.map(({ grant: { grant }, target, calls }): Suspicion => {
            const works = diagram.andAll([set(calls), set(ground.agreed), lets]);
            return {
              ...{ ...at, kind: 'note', grant: grant.name, given },
              calls: diagram.and(works, diagram.orAll(rules.map(set))),
              sentence: ({ what }) =>
                `grant ${grant.name} works only where the external authorizer ${providerOf(policy)} agrees: ${what}`,
              source: `${target.target.place.file}:${target.target.place.line}`,
            };
          }),
        );
      const named = withText('connection.sni', here[0]!.target.sni);
      const reached = diagram.andAll([lets, set(ground.holders), named]);
      const more: Suspicion = {
        ...{ ...at, kind: 'reaches-more' },
        calls: diagram.minus(reached, diagram.orAll(here.map(({ calls }) => set(calls)))),
        sentence: ({ who, what }) => `${who} would reach more than is granted: ${what}`,
      };
      return [...refused, ...authorizers, more].flatMap((suspicion) => findingsOf(ground, suspicion));
    });
  });
}

/** Everywhere: holders pass by no other name, and nobody else gains or loses anything. */
function proveRest(ground: Ground): readonly Finding[] {
  const { space, pairs, holders, grantedNames, ourTokens } = ground;
  const { diagram, set } = space;
  return pairs.flatMap(({ guards: [was, is], where }) => {
    const [passed, passes] = [letIn(ground, was), letIn(ground, is)];
    const gained = diagram.minus(diagram.minus(passes, passed), set(holders));
    const lost = diagram.minus(diagram.minus(passed, passes), set(holders));
    const suspicions: Suspicion[] = [
      {
        ...{ kind: 'reaches-more', where, guard: is },
        calls: diagram.minus(diagram.and(passes, set(holders)), set(grantedNames)),
        sentence: ({ who, what }) => `${who} would reach more than is granted: ${what}`,
      },
      {
        ...{ kind: 'changes-others', where, guard: is },
        calls: diagram.minus(lost, set(ourTokens)),
        sentence: ({ who, what }) => `${who} would lose ${what}`,
      },
      {
        ...{ kind: 'changes-others', where, guard: is },
        calls: diagram.minus(gained, set(ourTokens)),
        sentence: ({ who, what }) => `${who} would gain ${what}`,
      },
      {
        ...{ kind: 'note', where, guard: is },
        calls: diagram.and(gained, set(ourTokens)),
        sentence: ({ who, what }) =>
          `a policy asks for any token, and an identity token of a workspace is one: with it ${who} would gain ${what}`,
      },
    ];
    return suspicions.flatMap((suspicion) => findingsOf(ground, suspicion));
  });
}

function speaks({ port }: GrantedPort['target']): Endpoint['protocol'] {
  return port.protocol === 'tcp' ? 'tcp' : 'http';
}
