/** Computes a matrix of identities and endpoints, whose cells state whether access is full, partial or denied. */

import type { MeshView } from '@meshpass/istio';
import { type RuleField, testsOfRule } from '../envoy-rule.ts';
import type { Call } from './call.ts';
import { callOf } from './caller.ts';
import { type KnownCaller, knownPeers, knownTokens } from './known-callers.ts';
import { allEndpoints, assumedNamespaces, type Endpoint } from './target.ts';
import { combineVerdicts, evaluate, type Verdict } from './verdict.ts';

export interface Cell {
  readonly who: string;
  readonly endpoint: Endpoint;
  /** `some` if the result depends on the method, the path or the host, or on which workload receives the call. */
  readonly allowed: Verdict | 'some';
  /** An example of a call that is allowed. Only set if `allowed` is `some`. */
  readonly example?: string;
  /** The reason why `allowed` is `unknown`. */
  readonly unknown?: string;
}

export interface Matrix {
  readonly identities: readonly string[];
  readonly endpoints: readonly string[];
  readonly cells: readonly Cell[];
  /** The namespaces whose Pods are assumed to have a sidecar. */
  readonly assumed: readonly string[];
}

const MOST_OPERATIONS = 400;

/**
 * Evaluates the access that every known identity has to every port of every Service.
 * @example
 * ```ts
 * import { matrixOf } from '@meshpass/analysis/evaluate';
 * import { loadManifests, viewMesh } from '@meshpass/istio';
 * const orders = `{apiVersion: v1, kind: Service, metadata: {name: orders, namespace: shop},
 *   spec: {selector: {app: orders}, ports: [{port: 80, name: http}]}}`;
 * const policy = `{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: orders, namespace: shop},
 *   spec: {rules: [{from: [{source: {namespaces: [web]}}]}]}}`;
 * const view = viewMesh(loadManifests(`${orders}\n---\n${policy}`, 'shop.yaml').resources);
 * const { endpoints, identities } = matrixOf(view);
 * endpoints; // => ['orders.shop:80']
 * identities.includes('nobody (plain text)'); // => true
 * ```
 */
export function matrixOf(view: MeshView): Matrix {
  const endpoints = allEndpoints(view);
  const peers = knownPeers(view);
  const rows = new Map<string, Cell[]>();
  for (const endpoint of endpoints) {
    const calls = operationsOf(endpoint);
    const withTokens = peers.flatMap((peer): KnownCaller[] => [
      peer,
      ...knownTokens(endpoint).map(({ name, claims }) => ({ ...peer, name: `${peer.name}, ${name}`, claims })),
    ]);
    for (const caller of withTokens) {
      const evaluations = calls.map((http) => evaluate(endpoint, callOf(endpoint, caller, http)));
      const allowed = combineVerdicts(evaluations.map(({ verdict }) => verdict));
      const unknown = evaluations.find((one) => one.unknown !== undefined)?.unknown;
      const first = calls[evaluations.findIndex(({ verdict }) => verdict === 'yes')];
      const example = allowed === 'some' && first ? `${first.method} ${first.path}` : undefined;
      const row = rows.get(caller.name) ?? [];
      row.push({
        who: caller.name,
        endpoint,
        allowed,
        ...(example !== undefined && { example }),
        ...(unknown !== undefined && { unknown }),
      });
      rows.set(caller.name, row);
    }
  }
  return {
    identities: [...rows.keys()],
    endpoints: [...new Set(endpoints.map(({ name }) => name))],
    cells: [...rows.values()].flat(),
    assumed: assumedNamespaces(view, endpoints),
  };
}

/**
 * Lists one request for each combination of a method and a path in the policies, and one request that matches none of
 * them. For TCP ports, the result is a single connection without HTTP.
 */
function operationsOf({ authorizer, port, authority }: Endpoint): readonly Call['http'][] {
  if (authorizer.protocolOf(port) === 'tcp') return [undefined];
  const tests = authorizer.policies.flatMap(({ spec }) => spec.rules ?? []).flatMap(testsOfRule);
  const named = (wanted: RuleField) =>
    tests.flatMap(({ field, values, notValues }) => (field === wanted ? [...values, ...notValues] : []));
  const methods = new Set(['GET', 'MESHPASS-OTHER', ...named('method').map((method) => method.replaceAll('*', 'X'))]);
  const paths = new Set([
    '/meshpass-other',
    ...named('path').map((path) => path.replaceAll(/\{\*\*?\}|\*/g, 'x').replace(/^(?!\/)/, '/')),
  ]);
  const calls = [...methods].flatMap((method) => [...paths].map((path) => ({ method, path, authority })));
  return calls.slice(0, MOST_OPERATIONS);
}
