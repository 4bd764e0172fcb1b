/** Determines whether a call to an endpoint is allowed (yes, no or unknown), and describes decisions in words. */
import type { Call, Decision, RuleRef } from './call.ts';
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

const REASONS: Readonly<Record<Decision['reason'], string>> = {
  open: 'no ALLOW policy applies, so calls pass unless they are denied',
  'allow-rule': 'this rule allows it',
  'no-allow-rule': 'ALLOW policies apply, and none of their rules matches',
  'deny-rule': 'this rule denies it',
  'custom-rule': 'an external authorizer denies it, or the mesh does not know the authorizer',
  'invalid-token': 'the token is not valid for this rule',
  plaintext: 'mutual TLS is required',
  'foreign-peer': "the mesh does not accept the peer's trust domain",
  'not-http': 'the port is declared as HTTP, and the connection is not HTTP',
  'malformed-path': 'Envoy rejects the path',
};

/**
 * Describes the reason for a decision and the rule that decides.
 * @example
 * ```ts
 * import { describeDecision } from '@meshpass/analysis/evaluate';
 * describeDecision({ reason: 'plaintext' }); // => 'mutual TLS is required'
 * ```
 */
export function describeDecision({ reason, rule }: Pick<Decision, 'reason' | 'rule'>): string {
  return rule ? `${REASONS[reason]}: ${describeRule(rule)}` : REASONS[reason];
}

/**
 * Describes a rule by its number, which starts at 0, and its place in the source.
 * @example
 * ```ts
 * import { describeRule } from '@meshpass/analysis/evaluate';
 * const place = () => ({ file: 'orders.yaml', line: 12, column: 5 });
 * describeRule({ kind: 'AuthorizationPolicy', namespace: 'shop', name: 'orders', action: 'DENY', rule: 0, place });
 * // => 'DENY shop/orders rule 0, orders.yaml:12'
 * ```
 */
export function describeRule({ kind, namespace, name, action, rule, place }: RuleRef): string {
  const { file, line } = place();
  const which = rule === undefined ? '' : ` rule ${rule}`;
  return `${action ?? kind} ${namespace}/${name}${which}, ${line > 0 ? `${file}:${line}` : file}`;
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
