/**
 * Prepares everything that is needed to evaluate a change to the access file: both states of the mesh, all ports, and
 * the relevant sets of calls.
 */

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
import { type WorkspaceCalls, workspaceCalls } from './workspace-calls.ts';

export interface Change {
  readonly before: readonly Resource[];
  readonly after: readonly Resource[];
  readonly grants: readonly ResolvedGrant[];
  readonly mesh: Pick<Mesh, 'trustDomain' | 'clusterDomain' | 'gateway'>;
  readonly settings: MeshSettings;
  readonly tokens: IdentityTokens;
  /** The names of all grants before or after the change. Calls by their holders do not count as other traffic. */
  readonly holders: readonly string[];
  /** Whether the mesh gateway never forwards calls to a Service port, regardless of the access file. */
  readonly isUnseen?: (host: string, port: number) => boolean;
  /** Additional formulas whose sets of calls are needed. */
  readonly also?: readonly Condition[];
  /** The reason why some policies may not have been read. */
  readonly unread?: string | undefined;
}

/** A Service port that has been granted, and the calls to it that the access file allows. */
export interface GrantedPort {
  readonly grant: ResolvedGrant;
  readonly target: ResolvedTarget;
  readonly calls: Condition;
}

export interface AnalysisContext extends WorkspaceCalls {
  readonly space: Space;
  readonly indexes: readonly [PolicyIndex, PolicyIndex];
  /** The endpoints for which decisions are known. Nothing can be proven about any other endpoint. */
  readonly endpoints: readonly Endpoint[];
  readonly unknown: readonly { readonly endpoint: Endpoint; readonly reason: string }[];
  /** The namespaces whose Pods are assumed to have a sidecar. */
  readonly assumed: readonly string[];
  /** The mesh gateway, which forwards connections and does not enforce policies. */
  readonly gateway: Mesh['gateway'];
  readonly pairs: readonly Pair[];
  readonly ports: readonly GrantedPort[];
  /** Calls from callers that have the certificate of a grant. */
  readonly holders: Condition;
  /** Calls from grant holders that carry an identity token for their own grant. */
  readonly prepared: Condition;
  /** The connections to each granted port, in any subset, by the plain server name of the port. */
  readonly names: ReadonlyMap<string, Condition>;
  /** The connections whose server name belongs to a granted port. */
  readonly grantedNames: Condition;
  /** Requests that carry an identity token, or any other value in the place where the token belongs. */
  readonly ourTokens: Condition;
  /** All calls that are possible (see `possibleCalls`). */
  readonly real: Condition;
  /** Calls that cannot be blocked by anything that is unknown (see `agreeing`). */
  readonly agreed: Condition;
  /** The hosts that the mesh gateway forwards calls to, before and after the change. */
  readonly open: readonly [ReadonlySet<string>, ReadonlySet<string>];
  readonly isUnseen: (host: string, port: number) => boolean;
}

/**
 * Prepares everything that is needed to evaluate a change.
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
  };
  const real = possibleCalls(settings);
  const conditions = [
    ...names.values(),
    ...portPolicies.map(({ allowed }) => allowed),
    // These conditions are added separately, because some of their tests may be missing from the simplified formulas.
    ...portPolicies.flatMap(customRules),
    ...ports.map(({ calls }) => calls),
    ...Object.values(sets),
    workspace.forwarded,
    workspace.headerless,
    real,
  ];
  const space = createSpace([...conditions, ...(change.also ?? [])]);
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
    ...workspace,
    real,
    given: [...givenOf(tokens), ...workspace.given, ...flags],
    open: [openHosts(before), openHosts(after)],
    isUnseen: change.isUnseen ?? (() => false),
  };
}

/**
 * Returns the calls that a port allows. If the port disables mutual TLS, it does not allow any calls by grant holders,
 * because workspaces always use mutual TLS.
 */
export function callsAllowedByPort(
  { space, holders }: Pick<AnalysisContext, 'space' | 'holders'>,
  { allowed, plain }: PortPolicy,
): Node {
  const { diagram, set } = space;
  return plain ? diagram.minus(set(allowed), set(holders)) : set(allowed);
}

/** Formats a Service and its port in the same way as the entries of `Endpoint.services`. */
export function serviceOf({ service, port }: ResolvedTarget): string {
  return `${service.name}.${service.namespace}:${port.port}`;
}

/**
 * Returns the host, port and server name of a Service port.
 * @param service the Service and its port, formatted as in `Endpoint.services`
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
 * Assumes that every external authorizer allows the call (their decisions are unknown) and that the request carries no
 * additional, invalid token. Neither case means that the grant is broken.
 */
function agreeing(flags: ReadonlySet<FlagField>): Condition {
  return all([...flags].map((field) => (field.startsWith('custom:') ? flag(field) : not(flag(field)))));
}

/** Collects the flags that represent external authorizers and invalid tokens. */
function agreedFlags(portPolicies: readonly PortPolicy[]): ReadonlySet<FlagField> {
  const seen = new Set<Condition>();
  const flags = new Set<FlagField>();
  for (const { allowed } of portPolicies) {
    for (const test of testsOf(allowed, seen)) if (test.op === 'flag' && AGREED.test(test.field)) flags.add(test.field);
  }
  return flags;
}

const AGREED = /^(?:custom|unverified):/;
