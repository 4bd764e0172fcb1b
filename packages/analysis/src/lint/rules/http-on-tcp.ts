import {
  type AuthorizationPolicy,
  actionOf,
  type Path,
  selectorOf,
  selectsPods,
  standInFor,
  type Workload,
  type WorkloadPort,
} from '@meshpass/istio';
import { texts } from '@meshpass/istio/members';
import { indexEnforcedPolicies } from '../../exposure/enforced.ts';
import { isGatewayPod } from '../../exposure/entries/gateway-service.ts';
import type { LintContext } from '../context.ts';
import { conditionsOf, operationsOf, type PolicyRule, policyRules, sourcesOf } from '../parts.ts';
import type { Part, Rule } from '../rule.ts';

const HTTP_SOURCES = ['requestPrincipals', 'notRequestPrincipals', 'remoteIpBlocks', 'notRemoteIpBlocks'];
const HTTP_OPERATIONS = ['hosts', 'notHosts', 'methods', 'notMethods', 'paths', 'notPaths'];

/**
 * HTTP fields apply to a TCP port. Istio then drops an ALLOW rule, but only drops the field from a DENY rule, which
 * therefore matches more calls.
 */
export const httpOnTcp: Rule = {
  code: 'MP302',
  name: 'http-on-tcp',
  severity: 'error',
  title: 'A rule with HTTP fields applies to a TCP port',
  fix: 'Limit the rule to the HTTP ports with `to.operation.ports` and write another rule for the TCP ports; or declare the port as HTTP (`appProtocol: http`).',
  *check(context) {
    for (const rule of policyRules(context)) {
      const action = actionOf(rule.on);
      const field = action === 'ALLOW' || action === 'DENY' ? httpField(rule) : undefined;
      // An HTTP ALLOW rule next to a TCP ALLOW rule is correct. If the HTTP rule is the only one for a port that it
      // lists, it is a mistake.
      const only = operationsOf(rule).some(({ value }) => texts(value.ports).length > 0);
      if (!field || (action === 'ALLOW' && !only)) continue;
      const onTcp = tcpPorts(context, rule.on).find(({ port }) => appliesTo(rule, port));
      if (!onTcp) continue;
      const where = `on port ${onTcp.port} of ${onTcp.declaredBy}, which speaks TCP, Istio drops`;
      const message =
        action === 'DENY'
          ? `${where} ${field.name} from this rule: it denies every connection there that the rest of the rule matches.`
          : `${where} this rule because of ${field.name}: it allows nothing.`;
      yield { on: rule.on, path: field.path, part: 'key', message };
    }
  },
};

/** Finds the first part of a rule that applies only to HTTP. */
function httpField(rule: PolicyRule): { readonly name: string; readonly path: Path } | undefined {
  const lists = (parts: readonly Part<object>[], names: readonly string[]) =>
    parts.flatMap(({ value, path }) =>
      names.filter((name) => name in value).map((name) => ({ name, path: [...path, name] })),
    );
  const conditions = conditionsOf(rule)
    .map(({ value, path }) => ({ name: String(value.key), path: [...path, 'key'] }))
    .filter(({ name }) => /^request\.|^remote\.ip/.test(name));
  return [...lists(operationsOf(rule), HTTP_OPERATIONS), ...lists(sourcesOf(rule), HTTP_SOURCES), ...conditions][0];
}

/** Whether a rule applies to a port. A rule without ports applies to all ports. */
function appliesTo(rule: PolicyRule, port: number): boolean {
  const operations = operationsOf(rule);
  return (
    operations.length === 0 ||
    operations.some(({ value }) => {
      const [ports, not] = [texts(value.ports), texts(value.notPorts)];
      return (ports.length === 0 || ports.includes(String(port))) && !not.includes(String(port));
    })
  );
}

/**
 * Lists the ports that the policy's workloads declare as TCP. This uses the same model that decides calls, so that
 * `lint` and `can-i` agree.
 */
function tcpPorts(context: LintContext, policy: AuthorizationPolicy): readonly WorkloadPort[] {
  // A policy for a whole namespace or mesh intentionally covers both protocols, so ports are checked only for policies
  // with a selector.
  if (selectorOf(policy) === undefined) return [];
  const { mesh } = context;
  const { portsOf } = indexEnforcedPolicies(mesh).workloads;
  const workloads = mesh.within('Service', policy.metadata.namespace).flatMap((service): readonly Workload[] => {
    const pods = mesh.podsBehind(service);
    // The protocols of a Gateway API Gateway's Pods are defined by its listeners, even if it was deployed separately.
    if (pods.length > 0) return pods.filter((pod) => pod.kind !== 'sidecar' || !isGatewayPod(pod));
    const isEmpty = Object.keys(service.spec.selector ?? {}).length === 0;
    return isEmpty ? [] : [standInFor(service, mesh.proxyKind)];
  });
  return [...new Set(workloads)]
    .filter((workload) => selectsPods(policy, workload.labels))
    .flatMap((workload) => [...portsOf(workload).values()])
    .filter(({ protocol }) => protocol === 'tcp');
}
