/** Determines whether a call to an endpoint is allowed: yes, no or unknown. */
import type { Call, Decision } from './call.ts';
import type { Endpoint } from './target.ts';
import { decideEveryPath, type Way } from './ways.ts';

export type Verdict = 'yes' | 'no' | 'unknown';

export interface Evaluation {
  readonly verdict: Verdict;
  /**
   * The decision that the policies make. If the call can take more than one path, this is the decision for the first
   * path.
   */
  readonly decision: Decision;
  /** The reason why the verdict is unknown. */
  readonly unknown?: string;
}

/**
 * Evaluates a call against all policies on its path to the endpoint. The verdict is `unknown` if it also depends on
 * anything else: a nonstandard proxy, an external authorizer, a provider in a mesh configuration that was not read, the
 * version of Envoy, or whether the caller is in ambient mode.
 * @example
 * ```ts
 * import { evaluate, findEndpoints } from '@meshpass/analysis/evaluate';
 * import { loadManifests, viewMesh } from '@meshpass/istio';
 * const orders = `{apiVersion: v1, kind: Service, metadata: {name: orders, namespace: shop},
 *   spec: {selector: {app: orders}, ports: [{port: 80, name: http}]}}`;
 * const policy = `{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: orders, namespace: shop},
 *   spec: {rules: [{from: [{source: {namespaces: [web]}}]}]}}`;
 * const view = viewMesh(loadManifests(`${orders}\n---\n${policy}`, 'shop.yaml').resources);
 * const [endpoint] = findEndpoints(view, 'orders.shop:80');
 * const http = { method: 'GET', path: '/', authority: 'orders.shop' };
 * evaluate(endpoint!, { port: 80, principal: 'cluster.local/ns/web/sa/shop', http }).verdict; // => 'yes'
 * ```
 */
export function evaluate(endpoint: Endpoint, call: Call): Evaluation {
  const ways = decideEveryPath(endpoint, call);
  const [first] = ways as [Way, ...Way[]];
  const { decision } = first;
  const differing = ways.find((one) => one.decision.allowed !== decision.allowed);
  const unknown =
    endpoint.unknown ??
    (differing && `${first.why}: ${describeWay(first)}, and ${describeWay(differing)}`) ??
    ways.map((one) => whyOpen(one.decision, call)).find((why) => why !== undefined);
  if (unknown !== undefined) return { verdict: 'unknown', decision, unknown };
  return { verdict: decision.allowed ? 'yes' : 'no', decision };
}

function describeWay({ by, decision }: Way): string {
  return `${by} it is ${decision.allowed ? 'allowed' : 'refused'}`;
}

/** Explains which unknown fact could reverse the decision. Returns undefined if there is no such fact. */
function whyOpen(decision: Decision, call: Call): string | undefined {
  const { allowed, external, unknownProvider, headersOfOlderEnvoy: headers } = decision;
  if (unknownProvider !== undefined)
    return `a CUSTOM policy delegates to the authorizer ${unknownProvider}, and the mesh configuration that would define it was not read`;
  if (headers !== undefined)
    return `the caller sends ${headers.join(', ')}, which a RequestAuthentication writes: Envoy 1.40 and newer remove it first, but older versions may keep it, and then the answer is ${allowed ? 'no' : 'yes'}`;
  const asked = allowed ? external?.find(({ provider }) => call.external?.[provider] === undefined) : undefined;
  return asked && `the external authorizer ${asked.provider} decides`;
}

/**
 * Combines a list of verdicts into one. Returns `unknown` if any of them is unknown, `some` if they differ, and `no` if
 * the list is empty.
 * @example
 * ```ts
 * import { combineVerdicts } from '@meshpass/analysis/evaluate';
 * combineVerdicts(['yes', 'no']); // => 'some'
 * combineVerdicts(['yes', 'unknown']); // => 'unknown'
 * ```
 */
export function combineVerdicts(verdicts: readonly Verdict[]): Verdict | 'some' {
  if (verdicts.includes('unknown')) return 'unknown';
  if (verdicts.every((one) => one === 'no')) return 'no';
  return verdicts.every((one) => one === 'yes') ? 'yes' : 'some';
}
