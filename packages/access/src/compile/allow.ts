/**
 * ALLOW policies, only for workloads that a foreign ALLOW already governs. The first ALLOW on a workload changes its
 * default from open to closed, so ours must never be the first. Its selector combines the service's with the foreign
 * policy's, so it never selects a workload that the foreign policy does not.
 */
import { sha256Hex } from '@meshpass/identity/hash';
import { byName, type ForeignPolicy, type Mesh, type MeshService, selects } from '@meshpass/istio';
import type { IdentityTokens, Manifest, Operation } from '../model.ts';
import { anyoneOf, policyName } from './http-rules.ts';
import { metadata } from './metadata.ts';
import type { ResolvedGrant, ResolvedTarget } from './resolve.ts';
import { connectionsTo } from './server-names.ts';

/** Compiles the ALLOW policies of a granted port. */
export function allowPolicies(
  granted: ResolvedGrant,
  resolved: ResolvedTarget,
  mesh: Mesh,
  tokens: IdentityTokens,
): Manifest[] {
  const { grant, namespace } = granted;
  const { service } = resolved;
  const bySelector = new Map<
    string,
    { readonly selector: Readonly<Record<string, string>>; readonly foreign: ForeignPolicy }
  >();
  const foreign = mesh.foreignPolicies.filter((policy) => governs(policy, service, mesh)).toSorted(byName);
  for (const policy of foreign) {
    const selector = Object.fromEntries(Object.entries({ ...policy.selector, ...service.selector }).sort());
    const key = JSON.stringify(selector);
    if (!bySelector.has(key)) bySelector.set(key, { selector, foreign: policy });
  }
  const own = JSON.stringify(Object.fromEntries(Object.entries(service.selector).sort()));
  return [...bySelector].map(([key, { selector, foreign: policy }]) => ({
    apiVersion: 'security.istio.io/v1',
    kind: 'AuthorizationPolicy',
    metadata: metadata(
      `${policyName(resolved, namespace)}.allow${key === own ? '' : `-${sha256Hex(key).slice(0, 8)}`}`,
      service.namespace,
      {
        grant: grant.name,
        because: `ALLOW ${policy.namespace}/${policy.name} governs the workload`,
      },
    ),
    spec: { selector: { matchLabels: selector }, action: 'ALLOW', rules: [allowRule(granted, resolved, tokens)] },
  }));
}

/**
 * Builds the rule. HTTP fields are only set for HTTP ports, because an ALLOW rule with such fields has no effect on
 * TCP.
 */
function allowRule(
  { grant, namespace }: ResolvedGrant,
  { target, port, host }: ResolvedTarget,
  tokens: IdentityTokens,
): unknown {
  const onThisPort = connectionsTo(port.port, [host]);
  if (port.protocol === 'tcp') return { from: [{ source: { namespaces: [namespace] } }], when: onThisPort };
  return {
    from: [{ source: { namespaces: [namespace], requestPrincipals: [anyoneOf(tokens)] } }],
    ...(target.allow && { to: allowedOperations(target.allow).map((operation) => ({ operation })) }),
    when: [...onThisPort, { key: 'request.auth.claims[grants]', values: [grant.name] }],
  };
}

function allowedOperations(allow: readonly Operation[]): readonly unknown[] {
  const methods = [...new Set(allow.map(({ method }) => method))].sort();
  return methods.map((method) => ({
    ...(method !== '*' && { methods: [method] }),
    paths: [...new Set(allow.filter((operation) => operation.method === method).map(({ path }) => path))].sort(),
  }));
}

/** Whether a foreign ALLOW closes this service's workloads. In the root namespace, it applies to every namespace. */
function governs(policy: ForeignPolicy, service: MeshService, mesh: Mesh): boolean {
  if (policy.action !== 'ALLOW') return false;
  if (policy.namespace !== service.namespace && policy.namespace !== mesh.rootNamespace) return false;
  return policy.selector === undefined || service.workloads.some(({ labels }) => selects(policy.selector, labels));
}
