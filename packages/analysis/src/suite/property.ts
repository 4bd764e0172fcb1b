/** What a property of a suite speaks of, and whether it holds for every such call. */

import type { Access } from '@meshpass/access/compile';
import { grantNamespace } from '@meshpass/identity';
import type { Mesh } from '@meshpass/istio';
import { explainDecision } from '../diff/decision.ts';
import { describe, formatCall } from '../diff/describe.ts';
import type { Endpoint } from '../diff/endpoint.ts';
import { all, type Condition, flag, path as pathTest, text } from '../diff/formula/condition.ts';
import { EVERY, NONE, type Node } from '../diff/formula/diagram.ts';
import { readText } from '../diff/formula/text-test.ts';
import { type AnalysisContext, letIn } from '../plan/context.ts';
import { holderOf } from '../plan/granted-calls.ts';
import type { PolicyProperty } from './read-suite.ts';

export interface Result {
  readonly passed: boolean;
  /** What was decided and why; of a property that fails, a call that shows it. */
  readonly said: string;
}

/** The calls that a property speaks of, wherever they go. */
export function calls({ who, method, path }: PolicyProperty, access: Access): Condition {
  const callers: Record<PolicyProperty['who']['kind'], () => Condition> = {
    everybody: () => all([]),
    workspaces: () => holderOf(access.grants.map(({ name }) => grantNamespace(name))),
    grant: () => holderOf([grantNamespace((who as { grant: string }).grant)]),
    workload: () => {
      const { namespace, account } = who as { namespace: string; account?: string };
      const ofAccount = account === undefined ? [] : [text('peer.account', { form: 'exact', text: account })];
      return all([flag('peer'), text('peer.namespace', { form: 'exact', text: namespace }), ...ofAccount]);
    },
  };
  return all([
    callers[who.kind](),
    ...(method === undefined ? [] : [text('method', readText(method))]),
    ...(path === undefined ? [] : [pathTest(path)]),
  ]);
}

/** At every port that the property speaks of, by its own name: not one call may come out otherwise. */
export function show(
  property: PolicyProperty,
  condition: Condition,
  { context, mesh }: { readonly context: AnalysisContext; readonly mesh: Mesh },
): Result {
  const { space, indexes, endpoints, open } = context;
  const { diagram, set, withText } = space;
  const ofWorkspaces = property.who.kind === 'workspaces' || property.who.kind === 'grant';
  const http = property.method !== undefined || property.path !== undefined;
  let looked = context.unknown.filter(({ endpoint }) => endpoint.services.some((one) => isMeant(property, one))).length;
  for (const endpoint of endpoints) {
    if (http && endpoint.protocol === 'tcp') continue;
    for (const service of endpoint.services) {
      if (!isMeant(property, service)) continue;
      const [name, port] = service.split(':') as [string, string];
      const host = `${name}.svc.${mesh.clusterDomain}`;
      const through = !ofWorkspaces || open[1].has(host);
      looked++;
      const plain = `outbound_.${port}_._.${host}`;
      const granted = context.names.get(plain);
      const byName = granted ? set(granted) : withText('connection.sni', plain);
      const named = property.who.kind === 'everybody' ? EVERY : byName;
      const asked = diagram.andAll([
        set(condition),
        named,
        set(context.real),
        property.expect === 'allowed' ? set(context.agreed) : EVERY,
      ]);
      const allowed = through
        ? letIn(context, indexes[1].at(endpoint.workload, endpoint.port, endpoint.protocol))
        : NONE;
      const otherwise = property.expect === 'refused' ? diagram.and(asked, allowed) : diagram.minus(asked, allowed);
      if (otherwise !== NONE) return { passed: false, said: tell(context, otherwise, endpoint, property.expect) };
    }
  }
  const unknown = unknownTo(property, context, mesh);
  if (unknown !== undefined) return { passed: false, said: unknown };
  if (looked === 0) return { passed: false, said: 'it speaks of no port of the mesh, so it shows nothing' };
  return { passed: true, said: `${property.expect} for every such call at ${looked} ports` };
}

/** Why a property is not shown: of some port that it speaks of, and that its callers could come to, nothing is known. */
function unknownTo(property: PolicyProperty, { unknown, open }: AnalysisContext, mesh: Mesh): string | undefined {
  const { who, expect } = property;
  for (const { endpoint, reason } of unknown) {
    const service = endpoint.services.find((one) => {
      const through = open[1].has(`${one.split(':')[0]}.svc.${mesh.clusterDomain}`);
      // What the mesh gateway does not pass on is refused, whatever guards it.
      const refused = !through && (who.kind === 'workspaces' || who.kind === 'grant');
      return isMeant(property, one) && !(refused && expect === 'refused');
    });
    if (service !== undefined) return `expected to be ${expect} everywhere, and at ${service} it is unknown: ${reason}`;
  }
  return undefined;
}

function tell(
  { space, indexes }: AnalysisContext,
  calls: Node,
  endpoint: Endpoint,
  expect: PolicyProperty['expect'],
): string {
  const [product] = space.diagram.products(calls);
  const example = space.example(product!);
  const { matters } = describe(space.explain(product!));
  const { reason } = explainDecision(indexes[1].at(endpoint.workload, endpoint.port, endpoint.protocol), example);
  const call = formatCall(example, endpoint.protocol, matters);
  return `expected to be ${expect} everywhere, and at ${endpoint.services.join(', ')} this is not: ${call}: ${reason}`;
}

function isMeant({ at }: PolicyProperty, service: string): boolean {
  if (!at) return true;
  const [name, port] = service.split(':') as [string, string];
  const [own, namespace] = name.split('.') as [string, string];
  if (at.port !== undefined && String(at.port) !== port) return false;
  return namespace === at.namespace && (at.service === '*' || at.service === own);
}
