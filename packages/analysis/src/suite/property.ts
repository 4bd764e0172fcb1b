/** Proves that the properties in a test suite hold for every call that they cover. */

import type { Access } from '@meshpass/access/compile';
import { grantNamespace } from '@meshpass/identity';
import type { Mesh } from '@meshpass/istio';
import { explainDecision } from '../diff/decision.ts';
import { describeProduct, formatCall } from '../diff/describe.ts';
import type { Endpoint } from '../diff/endpoint.ts';
import { all, type Condition, flag, path as pathTest, text } from '../diff/formula/condition.ts';
import { EVERY, NONE, type Node } from '../diff/formula/diagram.ts';
import { parseTextTest } from '../diff/formula/text-test.ts';
import { AMBIENT_NOT_GRANTABLE } from '../evaluate/grantable.ts';
import { type AnalysisContext, callsAllowedByPort, serverOf } from '../plan/context.ts';
import { namespacePeerCondition } from '../plan/granted-calls.ts';
import type { PolicyProperty } from './read-suite.ts';

export interface CaseOutcome {
  readonly passed: boolean;
  /** The decision and its reason. If a property failed, this contains a call that disproves it. */
  readonly said: string;
}

/** Returns the calls that a property covers, regardless of their destination. */
export function propertyCalls({ who, method, path }: PolicyProperty, access: Access): Condition {
  return all([
    callers(who, access),
    ...(method === undefined ? [] : [text('method', parseTextTest(method))]),
    ...(path === undefined ? [] : [pathTest(path)]),
  ]);
}

function callers(who: PolicyProperty['who'], { grants }: Access): Condition {
  if (who.kind === 'grant') return namespacePeerCondition([grantNamespace(who.grant)]);
  if (who.kind !== 'workload')
    return who.kind === 'everybody' ? all([]) : namespacePeerCondition(grants.map(({ name }) => grantNamespace(name)));
  const ofAccount = who.account === undefined ? [] : [text('peer.account', { form: 'exact', text: who.account })];
  return all([flag('peer'), text('peer.namespace', { form: 'exact', text: who.namespace }), ...ofAccount]);
}

/**
 * Checks a property at every port that it covers, using the server name of that port. The property fails if any of its
 * calls has a different result.
 */
export function show(
  property: PolicyProperty,
  condition: Condition,
  { context, mesh }: { readonly context: AnalysisContext; readonly mesh: Mesh },
): CaseOutcome {
  const { space, indexes, endpoints, open } = context;
  const { diagram, set } = space;
  const http = property.method !== undefined || property.path !== undefined;
  const covered = endpoints
    .filter(({ protocol }) => !http || protocol === 'http')
    .flatMap((endpoint) => endpoint.services.map((service) => ({ endpoint, service })))
    .filter(({ service }) => isMeant(property, service));
  for (const { endpoint, service } of covered) {
    const { host, sni } = serverOf(service, mesh.clusterDomain);
    const asked = diagram.andAll([
      set(condition),
      property.who.kind === 'everybody' ? EVERY : namedBy(context, sni),
      set(context.real),
      property.expect === 'allowed' ? set(context.agreed) : EVERY,
    ]);
    const through = open[1].has(host) || !isOfWorkspaces(property);
    const allowed = through
      ? callsAllowedByPort(context, indexes[1].at(endpoint.workload, endpoint.port, endpoint.protocol))
      : NONE;
    const otherwise = property.expect === 'refused' ? diagram.and(asked, allowed) : diagram.minus(asked, allowed);
    if (otherwise !== NONE) return { passed: false, said: tell(context, otherwise, endpoint, property.expect) };
  }
  const unknown = unknownTo(property, context, mesh);
  if (unknown !== undefined) return { passed: false, said: unknown };
  const looked =
    covered.length +
    context.unknown.filter(({ endpoint }) => endpoint.services.some((one) => isMeant(property, one))).length;
  if (looked === 0) return { passed: false, said: 'it does not cover any port in the mesh, so it proves nothing' };
  return { passed: true, said: `${property.expect} for every such call at ${looked} ports` };
}

/** Returns the calls whose SNI is the server name of a port or of any of its granted subsets. */
function namedBy({ names, space }: AnalysisContext, plain: string): Node {
  const granted = names.get(plain);
  return granted ? space.set(granted) : space.withText('connection.sni', plain);
}

/**
 * Explains why a property could not be proven: the result is unknown at a port that the property covers and that its
 * callers may be able to reach.
 */
function unknownTo(property: PolicyProperty, { unknown, open }: AnalysisContext, mesh: Mesh): string | undefined {
  const { expect } = property;
  for (const { endpoint, reason } of unknown) {
    const service = endpoint.services.find((one) => {
      const through = open[1].has(serverOf(one, mesh.clusterDomain).host);
      // If the mesh gateway does not forward calls to a port, they are rejected no matter which proxy the port has.
      const refused = !through && isOfWorkspaces(property);
      return isMeant(property, one) && !(refused && expect === 'refused');
    });
    const why = reason === AMBIENT_NOT_GRANTABLE && !isOfWorkspaces(property) ? NOT_PROVEN : reason;
    if (service !== undefined) return `expected to be ${expect} everywhere, but at ${service} it is unknown: ${why}`;
  }
  return undefined;
}

const NOT_PROVEN = 'it is in ambient mode, where cases are decided and properties are not';

function tell(
  { space, indexes }: AnalysisContext,
  calls: Node,
  endpoint: Endpoint,
  expect: PolicyProperty['expect'],
): string {
  const [product] = space.diagram.products(calls);
  const example = space.example(product!);
  const { matters } = describeProduct(space.explain(product!));
  const { reason } = explainDecision(indexes[1].at(endpoint.workload, endpoint.port, endpoint.protocol), example);
  const call = formatCall(example, endpoint.protocol, matters);
  return `expected to be ${expect} everywhere, but at ${endpoint.services.join(', ')} this call is not: ${call}: ${reason}`;
}

function isOfWorkspaces({ who }: PolicyProperty): boolean {
  return who.kind === 'workspaces' || who.kind === 'grant';
}

function isMeant({ at }: PolicyProperty, service: string): boolean {
  if (!at) return true;
  const [name, port] = service.split(':') as [string, string];
  const [own, namespace] = name.split('.') as [string, string];
  if (at.port !== undefined && String(at.port) !== port) return false;
  return namespace === at.namespace && (at.service === '*' || at.service === own);
}
