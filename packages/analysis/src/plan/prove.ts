/**
 * Proves that a change to the access file is safe for all possible calls: each grant works, its holders cannot make any
 * other calls, and all other traffic in the mesh is unchanged.
 */

import { actionOf, providerOf } from '@meshpass/istio';
import { realProducts } from '../diff/compare.ts';
import { explainDecision } from '../diff/decision.ts';
import { type Description, describeProduct, formatCall } from '../diff/describe.ts';
import { type Endpoint, formatWhere } from '../diff/endpoint.ts';
import { NONE, type Node } from '../diff/formula/diagram.ts';
import type { PortPolicy } from '../diff/port-policy.ts';
import { type AnalysisContext, callsAllowedByPort, type GrantedPort, serviceOf } from './context.ts';
import type { Finding, FindingKind } from './finding.ts';
import { findUnknownEndpoints } from './unknown.ts';
import { ordinaryCalls } from './workspace-calls.ts';

/**
 * Lists all violations of the requirements for a safe change.
 * @returns the violations, or an empty list if the change may be applied
 */
export function findViolations(context: AnalysisContext): readonly Finding[] {
  return [...findUnknownEndpoints(context), ...proveGrants(context), ...proveRest(context)];
}

/**
 * Checks the granted ports. Everything that is granted has to work, and a port's name must not allow any other calls.
 */
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
      // All of these grants are for the same port of a Service. If another object declares the protocol of the
      // workload's port, holders have to use that protocol. If no object declares it, the client chooses the protocol,
      // but the grants only cover the protocol of the Service.
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
        // An operation that is granted explicitly has to work, unless a policy denies its headers or its host. A grant
        // for a whole port covers the calls that the mesh allows there, so the mesh has to allow at least one.
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
      // The proof assumes that external authorizers allow the calls, so a note reports this assumption.
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
 * Checks all other ports. Holders must not be accepted under any other name, and the access of all other callers must
 * stay the same.
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
        // Callers do not have to send an additional invalid token, so calls that carry one do not count as gained.
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

/** Calls that would be a problem if they were possible, with their ports and the rules that apply after the change. */
interface Suspicion {
  readonly kind: FindingKind;
  readonly calls: Node;
  readonly where: readonly Endpoint[];
  readonly portPolicy: PortPolicy;
  readonly grant?: string;
  /** Turns a description of the calls into a sentence, which does not mention the ports. */
  readonly sentence: (said: Description) => string;
  /** The fields that do not have to be mentioned because the context implies them. */
  readonly given?: ReadonlySet<string>;
  /** The position in the access file that the suspicion relates to. */
  readonly source?: string;
}

/** The maximum number of findings for each suspicion. Any others would be similar to these. */
const LISTED = 3;

/**
 * Lists the findings that confirm a suspicion.
 * @returns the findings, or an empty list if no such call exists
 */
function suspicionFindings(
  { space, real }: Pick<AnalysisContext, 'space' | 'real'>,
  suspicion: Suspicion,
): readonly Finding[] {
  const { kind, calls, where, portPolicy, grant, source } = suspicion;
  if (calls === NONE) return [];
  const findings: Finding[] = [];
  for (const { product, example } of realProducts(space, calls, real)) {
    if (findings.length === LISTED) break;
    const said = describeProduct(space.explain(product), suspicion.given);
    const circumstances = said.circumstances ? `, ${said.circumstances}` : '';
    findings.push({
      kind,
      ...(grant !== undefined && { grant }),
      message: `${suspicion.sentence(said)} on ${formatWhere(where)}${circumstances}`,
      example: formatCall(example, where[0]?.protocol ?? 'http', said.matters),
      because: explainDecision(portPolicy, example).reason + (source === undefined ? '' : `; granted at ${source}`),
    });
  }
  return findings;
}
