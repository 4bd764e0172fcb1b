/** Selects the parts of objects that rules check, along with their paths in the manifest. */

import {
  type AuthorizationCondition,
  type AuthorizationOperation,
  type AuthorizationPolicy,
  type AuthorizationRule,
  type AuthorizationSource,
  type Gateway,
  type GatewayServer,
  type HttpRoute,
  type JwtRule,
  type KubeObject,
  type Path,
  type RequestAuthentication,
  type ResourceKind,
  type ResourceOf,
  serverHost,
  type VirtualService,
} from '@meshpass/istio';
import { items, record, texts } from '@meshpass/istio/members';
import type { LintContext } from './context.ts';
import type { Part } from './rule.ts';

/** Converts a list to parts, with one part for each item. */
export function itemsOf<Value, On extends KubeObject>(
  on: On,
  path: Path,
  list: readonly Value[] | undefined,
): readonly Part<Value, On>[] {
  return items(list).map((value, index) => ({ on, path: [...path, index], value }));
}

/** Converts a list of strings to parts, with one part for each string. */
export function textsOf<On extends KubeObject>(on: On, path: Path, list: unknown): readonly Part<string, On>[] {
  return texts(list).map((value, index) => ({ on, path: [...path, index], value }));
}

/** Creates a function that returns all objects of a kind, with each object as a single part. */
export function objectsOfKind<Kind extends ResourceKind>(kind: Kind) {
  return ({ mesh }: LintContext) => mesh.all(kind).map((on) => ({ on: on as ResourceOf<Kind> & KubeObject, path: [] }));
}

type PolicyPart<Value> = Part<Value, AuthorizationPolicy>;
export type PolicyRule = PolicyPart<AuthorizationRule>;

/** Returns the rules of all AuthorizationPolicies. */
export function policyRules({ mesh }: LintContext): readonly PolicyRule[] {
  return mesh.all('AuthorizationPolicy').flatMap(rulesOf);
}

/** Returns the rules of a single AuthorizationPolicy. */
export function rulesOf(policy: AuthorizationPolicy): readonly PolicyRule[] {
  return itemsOf(policy, ['spec', 'rules'], policy.spec.rules);
}

/** Returns the sources of a policy rule. */
export function sourcesOf({ on, path, value }: PolicyRule): readonly PolicyPart<AuthorizationSource>[] {
  return itemsOf(on, [...path, 'from'], value.from).map((one) => ({
    on,
    path: [...one.path, 'source'],
    value: record(one.value.source) as AuthorizationSource,
  }));
}

/** Returns the operations of a policy rule. */
export function operationsOf({ on, path, value }: PolicyRule): readonly PolicyPart<AuthorizationOperation>[] {
  return itemsOf(on, [...path, 'to'], value.to).map((one) => ({
    on,
    path: [...one.path, 'operation'],
    value: record(one.value.operation) as AuthorizationOperation,
  }));
}

/** Returns the `when` conditions of a policy rule. */
export function conditionsOf({ on, path, value }: PolicyRule): readonly PolicyPart<AuthorizationCondition>[] {
  return itemsOf(on, [...path, 'when'], value.when);
}

/** A string in one of the lists of a policy rule. */
export interface RuleEntry extends PolicyPart<string> {
  /** The name of the list that contains the string, such as `notPaths`, followed by all strings in that list. */
  readonly list: string;
  readonly all: readonly string[];
}

/** Returns all strings in the lists of a source, operation or condition. */
export function ruleEntries({ on, path, value }: PolicyPart<object>): readonly RuleEntry[] {
  return Object.entries(value).flatMap(([list, values]) =>
    textsOf(on, [...path, list], values).map((one) => ({ ...one, list, all: texts(values) })),
  );
}

/** Returns all strings in the sources of every AuthorizationPolicy. */
export function sourceEntries(context: LintContext): readonly RuleEntry[] {
  return policyRules(context).flatMap(sourcesOf).flatMap(ruleEntries);
}

/** Returns all strings in the operations of every AuthorizationPolicy. */
export function operationEntries(context: LintContext): readonly RuleEntry[] {
  return policyRules(context).flatMap(operationsOf).flatMap(ruleEntries);
}

const PEER: readonly (keyof AuthorizationSource)[] = ['principals', 'namespaces', 'serviceAccounts', 'trustDomains'];

/** Finds the first part of a rule that identifies callers by their certificates. */
export function findPeerIdentityPart(rule: PolicyRule): { readonly path: Path; readonly part?: 'key' } | undefined {
  const listed = sourcesOf(rule).flatMap(({ value, path }) =>
    PEER.filter((list) => texts(value[list]).length > 0).map((list) => [...path, list]),
  )[0];
  if (listed) return { path: listed, part: 'key' };
  const condition = conditionsOf(rule).find(
    ({ value }) =>
      /^source\.(?:principal|namespace|serviceAccount)$/.test(String(value.key)) && texts(value.values).length > 0,
  );
  return condition && { path: condition.path };
}

/** Returns the servers of all Istio Gateways. */
export function gatewayServers({ mesh }: LintContext): readonly Part<GatewayServer, Gateway>[] {
  return mesh.all('Gateway').flatMap((on) => itemsOf(on, ['spec', 'servers'], on.spec.servers));
}

/** Returns the hosts of a server, both as written and as parsed by `serverHost`. */
export function hostsOf({ on, path, value }: Part<GatewayServer, Gateway>) {
  return textsOf(on, [...path, 'hosts'], value.hosts).map((one) => ({
    ...one,
    ...serverHost(one.value, on.metadata.namespace),
  }));
}

/** Returns the HTTP routes of all VirtualServices. */
export function httpRoutes({ mesh }: LintContext): readonly Part<HttpRoute, VirtualService>[] {
  return mesh.all('VirtualService').flatMap((on) => itemsOf(on, ['spec', 'http'], on.spec.http));
}

/** Returns the JWT rules of all RequestAuthentications. */
export function jwtRules({ mesh }: LintContext): readonly Part<JwtRule, RequestAuthentication>[] {
  return mesh.all('RequestAuthentication').flatMap((on) => itemsOf(on, ['spec', 'jwtRules'], on.spec.jwtRules));
}
