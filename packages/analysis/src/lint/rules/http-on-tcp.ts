import {
  type AuthorizationPolicy,
  actionOf,
  type Path,
  selectorOf,
  selectsPods,
  standInFor,
  type Workload,
  type WorkloadPort,
  ztunnelRule,
} from '@meshpass/istio';
import { texts } from '@meshpass/istio/members';
import { indexEnforcedPolicies } from '../../exposure/enforcer.ts';
import { isGatewayPod } from '../../exposure/entries/gateway-service.ts';
import type { LintContext } from '../context.ts';
import { operationsOf, type PolicyRule, policyRules } from '../parts.ts';
import type { Rule } from '../rule.ts';

/**
 * Reports rules whose HTTP fields apply to a TCP port. On such a port, Istio drops an ALLOW rule entirely. From a DENY
 * rule, it only drops the field, so that the rule matches more calls.
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
      // It is fine to have an ALLOW rule for HTTP next to one for TCP. But if the HTTP rule is the only rule for a port
      // that it lists, this is a mistake.
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

/** Finds the first part of a rule that only applies to HTTP. A ztunnel does not evaluate these parts either. */
function httpField({ value, path }: PolicyRule): { readonly name: string; readonly path: Path } | undefined {
  const field = ztunnelRule(value, 'DENY').unread.find(
    ({ name, path: [clause], isIgnored }) => !isIgnored && (clause !== 'when' || /^request\.|^remote\.ip/.test(name)),
  );
  return field && { name: field.name, path: [...path, ...field.path] };
}

/** Checks whether a rule applies to a port. Rules that list no ports apply to all of them. */
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
 * Lists the ports that the policy's workloads declare as TCP. The same model also decides calls, so that `lint` and
 * `can-i` agree.
 */
function tcpPorts(context: LintContext, policy: AuthorizationPolicy): readonly WorkloadPort[] {
  // Policies for a whole namespace or mesh cover both protocols on purpose, so only policies with a selector are
  // checked.
  if (selectorOf(policy) === undefined) return [];
  const { mesh } = context;
  const { portsOf } = indexEnforcedPolicies(mesh).workloads;
  const workloads = mesh.within('Service', policy.metadata.namespace).flatMap((service): readonly Workload[] => {
    const pods = mesh.podsBehind(service);
    // The listeners of a Gateway API Gateway define the protocols of its Pods, even if those Pods were deployed
    // separately.
    if (pods.length > 0) return pods.filter((pod) => pod.kind !== 'sidecar' || !isGatewayPod(pod));
    const isEmpty = Object.keys(service.spec.selector ?? {}).length === 0;
    return isEmpty ? [] : [standInFor(service, mesh.proxyKind)];
  });
  return [...new Set(workloads)]
    .filter((workload) => selectsPods(policy, workload.labels))
    .flatMap((workload) => [...portsOf(workload).values()])
    .filter(({ protocol }) => protocol === 'tcp');
}
