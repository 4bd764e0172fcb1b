import {
  type AuthorizationPolicy,
  type AuthorizationRule,
  actionOf,
  type Path,
  selectorOf,
  selectsPods,
  standInFor,
  type Workload,
  type WorkloadPort,
} from '@meshpass/istio';
import { items, labels, texts } from '@meshpass/istio/members';
import type { LintContext } from '../context.ts';
import { enforcedIn } from '../enforced.ts';
import { type At, conditionsOf, operationsOf, rulesOf, sourcesOf } from '../policy-rules.ts';
import type { Rule } from '../rule.ts';

const HTTP_SOURCES = ['requestPrincipals', 'notRequestPrincipals', 'remoteIpBlocks', 'notRemoteIpBlocks'];
const HTTP_OPERATIONS = ['hosts', 'notHosts', 'methods', 'notMethods', 'paths', 'notPaths'];

/** HTTP fields on a port that speaks TCP: an ALLOW rule is left out, a DENY rule loses the field and takes more. */
export const httpOnTcp: Rule = {
  code: 'MP302',
  name: 'http-on-tcp',
  severity: 'error',
  title: 'A rule with HTTP fields applies to a TCP port',
  fix: 'Limit the rule to the HTTP ports with `to.operation.ports` and write another rule for the TCP ports; or declare the port as HTTP (`appProtocol: http`).',
  *check(context) {
    for (const policy of context.mesh.all('AuthorizationPolicy')) {
      const action = actionOf(policy);
      if (action !== 'ALLOW' && action !== 'DENY') continue;
      for (const rule of rulesOf(policy)) {
        const field = httpField(rule);
        if (!field) continue;
        const onTcp = tcpPorts(context, policy).filter(({ port }) => appliesTo(rule, port));
        const only = operationsOf(rule).some(({ value }) => texts(value.ports).length > 0);
        // An ALLOW for HTTP beside one for TCP is as it should be; alone on a port that it names it is a mistake.
        if (onTcp.length === 0 || (action === 'ALLOW' && !only)) continue;
        const { declaredBy, port } = onTcp[0]!;
        yield {
          on: policy,
          path: field.path,
          part: 'key',
          message:
            action === 'DENY'
              ? `on port ${port} of ${declaredBy}, which speaks TCP, Istio drops ${field.name} from this rule: it denies every connection there that the rest of the rule takes.`
              : `on port ${port} of ${declaredBy}, which speaks TCP, Istio drops this rule because of ${field.name}: nothing is allowed by it.`,
        };
      }
    }
  },
};

function httpField(rule: At<AuthorizationRule>): { readonly name: string; readonly path: Path } | undefined {
  for (const { value, path } of operationsOf(rule)) {
    const name = HTTP_OPERATIONS.find((one) => one in value);
    if (name) return { name, path: [...path, name] };
  }
  for (const { value, path } of sourcesOf(rule)) {
    const name = HTTP_SOURCES.find((one) => one in value);
    if (name) return { name, path: [...path, name] };
  }
  for (const { value, path } of conditionsOf(rule)) {
    if (/^request\.|^remote\.ip/.test(String(value.key))) return { name: String(value.key), path: [...path, 'key'] };
  }
  return undefined;
}

/** A rule without ports applies to all. */
function appliesTo(rule: At<AuthorizationRule>, port: number): boolean {
  const operations = operationsOf(rule);
  return (
    operations.length === 0 ||
    operations.some(({ value }) => {
      const [ports, not] = [texts(value.ports), texts(value.notPorts)];
      return (ports.length === 0 || ports.includes(String(port))) && !not.includes(String(port));
    })
  );
}

/** Ports that workloads of the policy declare as TCP: by the model that decides calls, so that lint and can-i agree. */
function tcpPorts(context: LintContext, policy: AuthorizationPolicy): readonly WorkloadPort[] {
  // A policy of a whole namespace or mesh is written with all of it in mind; ports are looked at where one workload is meant.
  if (selectorOf(policy) === undefined) return [];
  const { mesh } = context;
  const { portsOf } = enforcedIn(mesh).workloads;
  const workloads = mesh.within('Service', policy.metadata.namespace).flatMap((service): readonly Workload[] => {
    const pods = mesh.podsBehind(service);
    if (pods.length > 0) return pods;
    const selector = labels(service.spec.selector);
    if (Object.keys(selector).length === 0) return [];
    return [standInFor({ ...service, spec: { selector, ports: items(service.spec.ports) } }, mesh.proxyKind)];
  });
  return [...new Set(workloads)]
    .filter((workload) => selectsPods(policy, workload.labels))
    .flatMap((workload) => [...portsOf(workload).values()])
    .filter(({ protocol }) => protocol === 'tcp');
}
