/** What a change of the access file is judged on: both states of the mesh, every port in them, and the sets that matter. */

import { type IdentityTokens, isOurs, type ResolvedGrant, type ResolvedTarget } from '@meshpass/access/compile';
import { grantNamespace } from '@meshpass/identity';
import { actionOf, type Mesh, type MeshSettings, ofKind, type Resource } from '@meshpass/istio';
import { indexStates, realCalls } from '../diff/compare.ts';
import { type Endpoint, endpointsOf, type Pair, pairUp } from '../diff/endpoint.ts';
import { all, any, type Condition, type FlagField, flag, not, testsOf, text } from '../diff/formula/condition.ts';
import type { Node } from '../diff/formula/diagram.ts';
import { createSpace, type Space } from '../diff/formula/space.ts';
import type { PolicyIndex, PortPolicy } from '../diff/policy-index.ts';
import { type DataPlanes, dataPlanes } from '../diff/unknown.ts';
import { grantedCalls, holderOf, namedBy, perfectToken } from './granted-calls.ts';

export interface Change {
  readonly before: readonly Resource[];
  readonly after: readonly Resource[];
  readonly grants: readonly ResolvedGrant[];
  readonly mesh: Pick<Mesh, 'trustDomain' | 'clusterDomain' | 'gateway'>;
  readonly settings: MeshSettings;
  readonly tokens: IdentityTokens;
  /** Grants that are now or were before: their holders are not other traffic. */
  readonly holders: readonly string[];
  /** Formulas that will be asked for as well. */
  readonly also?: readonly Condition[];
  /** Why not everything was read that may hold policies. */
  readonly unread?: string | undefined;
}

/** A port of a Service that is granted, and the calls that the access file gives there. */
export interface GrantedPort {
  readonly grant: ResolvedGrant;
  readonly target: ResolvedTarget;
  readonly calls: Condition;
}

export interface AnalysisContext {
  readonly space: Space;
  readonly indexes: readonly [PolicyIndex, PolicyIndex];
  /** Those that are understood: of others nothing is proven. */
  readonly endpoints: readonly Endpoint[];
  readonly unknown: readonly { readonly endpoint: Endpoint; readonly reason: string }[];
  readonly dataPlanes: DataPlanes;
  /** Our own: it passes connections on, and no policy is enforced there. */
  readonly gateway: Mesh['gateway'];
  readonly pairs: readonly Pair[];
  readonly ports: readonly GrantedPort[];
  /** Certificates of grants. */
  readonly holders: Condition;
  /** A holder with an identity token of its own grant. */
  readonly prepared: Condition;
  /** By a granted port's plain server name: connections to it, in whatever subset. */
  readonly names: ReadonlyMap<string, Condition>;
  /** Connections by the name of a granted port. */
  readonly grantedNames: Condition;
  /** Requests that carry an identity token, or what stands in its place. */
  readonly ourTokens: Condition;
  /** Calls that exist: see realCalls(). */
  readonly real: Condition;
  /** Calls that nothing unknown stands against: see `agreeing`. */
  readonly agreed: Condition;
  /** Fields of what every holder brings: its own SNI and token. */
  readonly given: readonly string[];
  /** Hosts that the mesh gateway passes on, before and after. */
  readonly open: readonly [ReadonlySet<string>, ReadonlySet<string>];
}

/** @throws MeshpassError `policy_too_large` */
export function analysisContext(change: Change): AnalysisContext {
  const { before, after, settings, tokens } = change;
  const indexes = indexStates(before, after, settings);
  const known = dataPlanes([after], settings.rootNamespace, change.unread);
  const found = endpointsOf([...before, ...after], indexes, settings);
  const unknown = found.flatMap((endpoint) => {
    const reason = known.unknownAt(endpoint);
    return reason === undefined ? [] : [{ endpoint, reason }];
  });
  const left = new Set(unknown.map(({ endpoint }) => endpoint));
  const endpoints = found.filter((one) => !left.has(one));
  const pairs = pairUp(endpoints, indexes);
  const portPolicies = pairs.flatMap((pair) => pair.portPolicies);
  const ports = change.grants.flatMap((grant) =>
    grant.targets.map((target): GrantedPort => ({ grant, target, calls: grantedCalls(grant, target, tokens) })),
  );
  const names = new Map(ports.map(({ target }) => [target.sni, namedBy(target.host, target.port.port)]));
  const sets = {
    holders: holderOf(change.holders.map(grantNamespace)),
    prepared: any(change.holders.map((name) => all([holderOf([grantNamespace(name)]), perfectToken(name, tokens)]))),
    grantedNames: any([...names.values()]),
    ourTokens: any([
      text('token.issuer', { form: 'exact', text: tokens.issuer }),
      flag(`unverified:header ${tokens.header.toLowerCase()}`),
    ]),
    agreed: agreeing(portPolicies),
  };
  const real = realCalls(settings);
  const conditions = [
    ...names.values(),
    ...portPolicies.map(({ allowed }) => allowed),
    // Asked for one by one: what a whole formula leaves out stands in them still.
    ...portPolicies.flatMap(customRules),
    ...ports.map(({ calls }) => calls),
    ...Object.values(sets),
  ];
  const space = createSpace([...conditions, real, ...(change.also ?? [])]);
  return {
    space,
    indexes,
    ...{ endpoints, unknown, dataPlanes: known, gateway: change.mesh.gateway },
    pairs,
    ports,
    names,
    ...sets,
    real,
    given: givenOf(tokens),
    open: [openHosts(before), openHosts(after)],
  };
}

/** What a port lets in. Workspaces always come by mutual TLS, so a port that takes none lets no holder in. */
export function letIn(
  { space, holders }: Pick<AnalysisContext, 'space' | 'holders'>,
  { allowed, plain }: PortPolicy,
): Node {
  const { diagram, set } = space;
  return plain ? diagram.minus(set(allowed), set(holders)) : set(allowed);
}

/** As Endpoint.services names it. */
export function serviceOf({ service, port }: ResolvedTarget): string {
  return `${service.name}.${service.namespace}:${port.port}`;
}

function givenOf({ header }: IdentityTokens): readonly string[] {
  const ofToken = ['issuer', 'subject', 'claim:aud', 'claim:grants'].map((name) => `token.${name}`);
  return ['connection.sni', ...ofToken, `unverified:header ${header.toLowerCase()}`];
}

function customRules({ policies }: PortPolicy): readonly Condition[] {
  return policies().flatMap((one) => (actionOf(one.policy) === 'CUSTOM' ? one.rules : []));
}

function openHosts(resources: readonly Resource[]): ReadonlySet<string> {
  const ours = ofKind(resources, 'Gateway').filter(isOurs);
  return new Set(ours.flatMap(({ spec }) => (spec.servers ?? []).flatMap(({ hosts = [] }) => hosts)));
}

/**
 * External authorizers agree, whose word is not known here, and there is no second token that does not verify. A grant is not
 * broken by either.
 */
function agreeing(portPolicies: readonly PortPolicy[]): Condition {
  const seen = new Set<Condition>();
  const flags = new Set<FlagField>();
  for (const { allowed } of portPolicies) {
    for (const test of testsOf(allowed, seen)) if (test.op === 'flag') flags.add(test.field);
  }
  return all(
    [...flags].flatMap((field) => {
      if (field.startsWith('custom:')) return [flag(field)];
      return field.startsWith('unverified:') ? [not(flag(field))] : [];
    }),
  );
}
