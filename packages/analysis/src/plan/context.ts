/** Input for evaluating a change to the access file: both mesh states, all ports, and the relevant sets of calls. */

import { type IdentityTokens, isOurs, type ResolvedGrant, type ResolvedTarget } from '@meshpass/access/compile';
import { formatSni, grantNamespace } from '@meshpass/identity';
import { actionOf, type Mesh, type MeshSettings, ofKind, type Resource } from '@meshpass/istio';
import { indexStates, possibleCalls } from '../diff/compare.ts';
import { type Endpoint, endpointsOf, type Pair, pairUp } from '../diff/endpoint.ts';
import { all, any, type Condition, type FlagField, flag, not, testsOf, text } from '../diff/formula/condition.ts';
import type { Node } from '../diff/formula/diagram.ts';
import { createSpace, type Space } from '../diff/formula/space.ts';
import type { PolicyIndex } from '../diff/policy-index.ts';
import type { PortPolicy } from '../diff/port-policy.ts';
import { assumedSidecarNamespaces, whyUnknown } from '../diff/unknown.ts';
import { whyNotGrantable } from '../evaluate/grantable.ts';
import { grantedCalls, namespacePeerCondition, sniCondition, validTokenCondition } from './granted-calls.ts';
import { workspaceCalls } from './workspace-calls.ts';

export interface Change {
  readonly before: readonly Resource[];
  readonly after: readonly Resource[];
  readonly grants: readonly ResolvedGrant[];
  readonly mesh: Pick<Mesh, 'trustDomain' | 'clusterDomain' | 'gateway'>;
  readonly settings: MeshSettings;
  readonly tokens: IdentityTokens;
  /** Grants before and after the change. Their holders are not part of other traffic. */
  readonly holders: readonly string[];
  /** Whether the mesh gateway never forwards calls to a Service port, regardless of the access file. */
  readonly isUnseen?: (host: string, port: number) => boolean;
  /** Additional formulas whose sets of calls are needed. */
  readonly also?: readonly Condition[];
  /** Reason why some policies may not have been read. */
  readonly unread?: string | undefined;
}

/** Granted port of a Service, and the calls that the access file allows there. */
export interface GrantedPort {
  readonly grant: ResolvedGrant;
  readonly target: ResolvedTarget;
  readonly calls: Condition;
}

export interface AnalysisContext {
  readonly space: Space;
  readonly indexes: readonly [PolicyIndex, PolicyIndex];
  /** Endpoints for which decisions are known. Nothing is proven about any others. */
  readonly endpoints: readonly Endpoint[];
  readonly unknown: readonly { readonly endpoint: Endpoint; readonly reason: string }[];
  /** Namespaces whose Pods are assumed to have a sidecar. */
  readonly assumed: readonly string[];
  /** Mesh gateway. It forwards connections and does not enforce policies. */
  readonly gateway: Mesh['gateway'];
  readonly pairs: readonly Pair[];
  readonly ports: readonly GrantedPort[];
  /** Calls from callers that have a grant's certificate. */
  readonly holders: Condition;
  /** Calls from holders that have an identity token for their own grant. */
  readonly prepared: Condition;
  /** Connections to each granted port, in any subset, keyed by the port's plain server name. */
  readonly names: ReadonlyMap<string, Condition>;
  /** Connections whose server name is that of a granted port. */
  readonly grantedNames: Condition;
  /** Requests that carry an identity token, or another value where the token belongs. */
  readonly ourTokens: Condition;
  /** Calls that are possible (see `possibleCalls`). */
  readonly real: Condition;
  /** Calls that cannot be blocked by an unknown fact (see `agreeing`). */
  readonly agreed: Condition;
  /**
   * Calls that the mesh gateway may have forwarded, and calls without headers that policies test (see
   * `workspaceCalls`).
   */
  readonly forwarded: Condition;
  readonly headerless: Condition;
  /** Fields that are known for every call: each holder's own SNI and token, and the fields that `agreed` assumes. */
  readonly given: readonly string[];
  /** Fields that are known to be present or absent in ordinary calls of holders. */
  readonly ordinarilyGiven: readonly string[];
  /** Hosts to which the mesh gateway forwards calls, before and after the change. */
  readonly open: readonly [ReadonlySet<string>, ReadonlySet<string>];
  readonly isUnseen: (host: string, port: number) => boolean;
}

/**
 * Computes the input for evaluating a change.
 * @throws MeshpassError `policy_too_large`
 */
export function analysisContext(change: Change): AnalysisContext {
  const { before, after, settings, tokens } = change;
  const indexes = indexStates(before, after, settings);
  const found = endpointsOf([...before, ...after], indexes, settings);
  const unknown = found.flatMap((endpoint) => {
    const reason =
      change.unread ?? whyUnknown([indexes[1]], endpoint) ?? whyNotGrantable(indexes[1].view, endpoint.workload);
    return reason === undefined ? [] : [{ endpoint, reason }];
  });
  const left = new Set(unknown.map(({ endpoint }) => endpoint));
  const endpoints = found.filter((one) => !left.has(one));
  const pairs = pairUp(endpoints, indexes);
  const portPolicies = pairs.flatMap((pair) => pair.portPolicies);
  const ports = change.grants.flatMap((grant) =>
    grant.targets.map((target): GrantedPort => ({ grant, target, calls: grantedCalls(grant, target, tokens) })),
  );
  const names = new Map(ports.map(({ target }) => [target.sni, sniCondition(target.host, target.port.port)]));
  const workspace = workspaceCalls(
    after,
    change.mesh,
    portPolicies.map(({ allowed }) => allowed),
  );
  const flags = agreedFlags(portPolicies);
  const sets = {
    holders: namespacePeerCondition(change.holders.map(grantNamespace)),
    prepared: any(
      change.holders.map((name) =>
        all([namespacePeerCondition([grantNamespace(name)]), validTokenCondition(name, tokens)]),
      ),
    ),
    grantedNames: any([...names.values()]),
    ourTokens: any([
      text('token.issuer', { form: 'exact', text: tokens.issuer }),
      flag(`unverified:header ${tokens.header.toLowerCase()}`),
    ]),
    agreed: agreeing(flags),
    forwarded: workspace.forwarded,
    headerless: workspace.headerless,
  };
  const real = possibleCalls(settings);
  const conditions = [
    ...names.values(),
    ...portPolicies.map(({ allowed }) => allowed),
    // These are added individually, because simplified formulas may omit some of their tests.
    ...portPolicies.flatMap(customRules),
    ...ports.map(({ calls }) => calls),
    ...Object.values(sets),
  ];
  const space = createSpace([...conditions, real, ...(change.also ?? [])]);
  return {
    space,
    indexes,
    endpoints,
    unknown,
    assumed: assumedSidecarNamespaces([indexes[1]], endpoints),
    gateway: change.mesh.gateway,
    pairs,
    ports,
    names,
    ...sets,
    real,
    given: [...givenOf(tokens), ...workspace.given, ...flags],
    ordinarilyGiven: workspace.ordinarilyGiven,
    open: [openHosts(before), openHosts(after)],
    isUnseen: change.isUnseen ?? (() => false),
  };
}

/**
 * Returns the calls that a port allows. Workspaces always use mutual TLS, so a port that disables mutual TLS does not
 * allow any holder.
 */
export function callsAllowedByPort(
  { space, holders }: Pick<AnalysisContext, 'space' | 'holders'>,
  { allowed, plain }: PortPolicy,
): Node {
  const { diagram, set } = space;
  return plain ? diagram.minus(set(allowed), set(holders)) : set(allowed);
}

/** Formats a Service port in the same format as `Endpoint.services`. */
export function serviceOf({ service, port }: ResolvedTarget): string {
  return `${service.name}.${service.namespace}:${port.port}`;
}

/**
 * Returns the host, port and server name of a Service port.
 * @param service formatted as in `Endpoint.services`
 */
export function serverOf(service: string, clusterDomain: string) {
  const [name, digits] = service.split(':') as [string, string];
  const [host, port] = [`${name}.svc.${clusterDomain}`, Number(digits)];
  return { host, port, sni: formatSni({ host, port }) };
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
 * Assumes that all external authorizers allow the call, because their decisions are unknown, and that the request
 * contains no second, invalid token. Neither of them breaks a grant.
 */
function agreeing(flags: ReadonlySet<FlagField>): Condition {
  return all([...flags].map((field) => (field.startsWith('custom:') ? flag(field) : not(flag(field)))));
}

/** Collects the flags of external authorizers and of invalid tokens. */
function agreedFlags(portPolicies: readonly PortPolicy[]): ReadonlySet<FlagField> {
  const seen = new Set<Condition>();
  const flags = new Set<FlagField>();
  for (const { allowed } of portPolicies) {
    for (const test of testsOf(allowed, seen)) if (test.op === 'flag' && AGREED.test(test.field)) flags.add(test.field);
  }
  return flags;
}

const AGREED = /^(?:custom|unverified):/;
