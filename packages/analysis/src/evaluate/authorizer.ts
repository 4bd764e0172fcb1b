/** Compiles all policies of a workload once, so that they do not have to be interpreted again for each call. */

import {
  type AttachedService,
  type AuthorizationPolicy,
  authorizationPolicies,
  type JwtRule,
  type MeshView,
  type PeerMode,
  peerAuthentications,
  peerModesOf,
  requestAuthentications,
  type SpokenProtocol,
  trustDomainsOf,
  trustedPeerDomains,
  type Workload,
  workloadPorts,
  ztunnelPeerModes,
} from '@meshpass/istio';
import type { Call, Decision, HttpCall } from './call.ts';
import { CallFacts } from './facts.ts';
import { compileTokenCheck, NONE, type TokenOutcome } from './request-authentication.ts';
import { normalizePath } from './rule/path.ts';
import { ruleRef } from './rule/refs.ts';
import { compileEnvoyRules, compileZtunnelRules } from './rule-sets.ts';

export interface Authorizer {
  readonly workload: Workload;
  /**
   * Decides a call to this workload. This is fast and has no side effects, because the policies are already compiled.
   */
  readonly decide: (call: Call) => Decision;
  readonly protocolOf: (port: number) => SpokenProtocol;
  readonly peerMode: (port: number) => PeerMode;
  /** The AuthorizationPolicies that apply to the workload. */
  readonly policies: readonly AuthorizationPolicy[];
  /** The JWT rules that apply to the workload. */
  readonly tokenRules: readonly JwtRule[];
}

/**
 * Compiles everything that applies to a workload into a single decision function, which behaves like the workload's
 * sidecar or, in ambient mode, like its ztunnel.
 * @param service the destination of the call, if the workload is a waypoint
 * @param protocols the protocol of each port of the workload, which overrides the protocols that Services declare
 * @example
 * ```ts
 * import { createAuthorizer } from '@meshpass/analysis/evaluate';
 * import { loadManifests, viewMesh } from '@meshpass/istio';
 * const orders = `{apiVersion: v1, kind: Service, metadata: {name: orders, namespace: shop},
 *   spec: {selector: {app: orders}, ports: [{port: 80, name: http}]}}`;
 * const policy = `{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: orders, namespace: shop},
 *   spec: {rules: [{from: [{source: {namespaces: [web]}}]}]}}`;
 * const view = viewMesh(loadManifests(`${orders}\n---\n${policy}`, 'shop.yaml').resources);
 * const [workload] = viewMesh(loadManifests(`{apiVersion: v1, kind: Pod, metadata: {name: orders, namespace: shop, labels: {app: orders}}}`, 'pod.yaml').resources).workloads;
 * const authorizer = createAuthorizer(view, workload!);
 * const http = { method: 'GET', path: '/', authority: 'orders.shop' };
 * authorizer.decide({ port: 80, principal: 'cluster.local/ns/web/sa/shop', http }).reason; // => 'allow-rule'
 * authorizer.decide({ port: 80, principal: 'cluster.local/ns/other/sa/x', http }).reason; // => 'no-allow-rule'
 * ```
 */
export function createAuthorizer(
  view: MeshView,
  workload: Workload,
  options: { readonly service?: AttachedService; readonly protocols?: ReadonlyMap<number, SpokenProtocol> } = {},
): Authorizer {
  if (workload.kind === 'sidecar' && view.dataPlane().proxyOf(workload) === 'ztunnel')
    return ztunnelAuthorizer(view, workload);
  const policies = authorizationPolicies(view, workload, options.service);
  const trustDomains = trustDomainsOf(view.config);
  const declared =
    options.protocols ??
    new Map([...workloadPorts(view, view.config, workload)].map(([port, { protocol }]) => [port, protocol]));
  const protocolOf = (port: number): SpokenProtocol => declared.get(port) ?? 'undeclared';
  const modes = peerModesOf(view, workload);
  const modeOf = (port: number): PeerMode => modes.ports.get(port) ?? modes.general;
  const http = compileEnvoyRules(policies, false, trustDomains, view.config);
  const tcp = compileEnvoyRules(policies, true, trustDomains, view.config);
  const authentications = requestAuthentications(view, workload, options.service);
  const checkTokens = compileTokenCheck(authentications);
  const tokenRules = authentications.flatMap(({ spec }) => spec.jwtRules ?? []);
  const { pathNormalization } = view.config;
  const ours = trustedPeerDomains(view.config).map((domain) => `${domain}/`);
  const isOurs = (principal: string): boolean => {
    for (const domain of ours) if (principal.startsWith(domain)) return true;
    return false;
  };

  const factsOf = (call: Call, principal: string, sni: string, http?: HttpCall, path?: string): CallFacts => {
    const facts = new CallFacts(call, principal, sni, http, path);
    // A waypoint passes tunnelled calls to a listener inside Envoy, whose peer has no address. The client's own address
    // is still available as `remote.ip`.
    if (workload.kind === 'waypoint') facts.sourceIp = undefined;
    return facts;
  };

  const decide = (call: Call): Decision => {
    const { port } = call;
    const mode = modeOf(port);
    const mutual = call.principal !== undefined && mode.mode !== 'DISABLE';
    const as = spokenAs(protocolOf(port), call, mutual);
    if (mode.mode === 'STRICT' && call.principal === undefined)
      return { allowed: false, reason: 'plaintext', as, ...(mode.policy && { rule: ruleRef(mode.policy) }) };
    if (mutual && !isOurs(call.principal!)) return { allowed: false, reason: 'foreign-peer', as };
    // The calling sidecar knows that the port disables TLS, so it sends plain text.
    const principal = mutual ? call.principal! : '';
    const sni = mode.mode === 'DISABLE' ? '' : (call.sni ?? '');
    return as === 'http' ? decideHttp(call, principal, sni) : tcp.decideByPolicies(factsOf(call, principal, sni), call);
  };

  const decideHttp = (call: Call, principal: string, sni: string): Decision => {
    if (!call.http) return NOT_HTTP;
    const path = normalizePath(call.http.path, pathNormalization);
    if (path === undefined) return MALFORMED_PATH;
    const { http: request } = call;
    const facts = () => factsOf(call, principal, sni, request, path);
    const custom = http.decideByAuthorizers(facts(), call);
    if (custom && !custom.allowed) return custom;
    if (!checkTokens) return http.decideByPolicies(facts(), call, custom);
    const { outcome, older } = checkTokens(call, request);
    const decision = decideByTokens(outcome, facts(), call, custom);
    if (!older || decideByTokens(older.outcome, facts(), call, custom).allowed === decision.allowed) return decision;
    return { ...decision, headersOfOlderEnvoy: older.headers };
  };

  /** Decides a request whose tokens have been checked. */
  const decideByTokens = (outcome: TokenOutcome, facts: CallFacts, call: Call, custom?: Decision): Decision => {
    if (!outcome.valid) return outcome.decision;
    if (outcome !== NONE) {
      facts.claims = outcome.claims;
      facts.headers = outcome.headers;
    }
    return http.decideByPolicies(facts, call, custom);
  };
  return { workload, decide, protocolOf, peerMode: modeOf, policies, tokenRules };
}

/**
 * Creates the authorizer of a ztunnel, which evaluates connections instead of requests. Regardless of the mode, a
 * ztunnel accepts HBONE with a certificate from the mesh's own trust domain.
 */
function ztunnelAuthorizer(view: MeshView, workload: Workload): Authorizer {
  const policies = authorizationPolicies(view, workload);
  const rules = compileZtunnelRules(policies);
  const { rootNamespace, trustDomain } = view.config;
  const modes = ztunnelPeerModes(peerAuthentications(view, workload), workload, rootNamespace);
  const peerMode = (port: number): PeerMode => modes.ports.get(port) ?? modes.general;
  const decide = (call: Call): Decision => {
    const { mode, policy } = peerMode(call.port);
    const { principal } = call;
    if (mode === 'STRICT' && principal === undefined)
      return { ...PLAINTEXT, at: 'ztunnel', ...(policy && { rule: ruleRef(policy) }) };
    if (principal !== undefined && !principal.startsWith(`${trustDomain}/`)) return { ...FOREIGN_PEER, at: 'ztunnel' };
    return { ...rules.decideByPolicies(new CallFacts(call, principal ?? '', ''), call), at: 'ztunnel' };
  };
  return { workload, decide, protocolOf: () => 'tcp', peerMode, policies, tokenRules: [] };
}

const PLAINTEXT: Decision = { allowed: false, reason: 'plaintext', as: 'tcp' };
const FOREIGN_PEER: Decision = { allowed: false, reason: 'foreign-peer', as: 'tcp' };

/**
 * Returns the protocol that a port treats a call as. Only a client that uses mutual TLS can announce a different
 * protocol than the one it uses. In plain text, the first bytes reveal the protocol.
 */
function spokenAs(declared: SpokenProtocol, { announces, http }: Call, mutual: boolean): 'http' | 'tcp' {
  if (declared !== 'undeclared') return declared;
  return (mutual && announces) || (http ? 'http' : 'tcp');
}

const NOT_HTTP: Decision = { allowed: false, reason: 'not-http', as: 'http' };
const MALFORMED_PATH: Decision = { allowed: false, reason: 'malformed-path', status: 400, as: 'http' };
