/**
 * ALLOW, only where somebody else's ALLOW governs the workload already. The first ALLOW on a workload turns its default
 * from open to closed, so one of ours must never be the first: its selector is that of the service together with that
 * of the foreign policy, which selects no workload that the foreign one does not.
 */
import { sha256Hex } from '@meshpass/identity/hash';
import type { ForeignPolicy, Mesh, MeshService } from '@meshpass/istio';
import type { IdentityTokens, Manifest, Operation } from '../model.ts';
import { anyoneOf, policyName } from './http-rules.ts';
import { metadata } from './metadata.ts';
import type { ResolvedGrant, ResolvedTarget } from './resolve.ts';
import { connectionsTo } from './server-names.ts';

export function allowPolicies(
  granted: ResolvedGrant,
  resolved: ResolvedTarget,
  mesh: Mesh,
  tokens: IdentityTokens,
): Manifest[] {
  const { grant, namespace } = granted;
  const { target, service } = resolved;
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
        source: target.place,
        because: `ALLOW ${policy.namespace}/${policy.name} governs the workload`,
      },
    ),
    spec: { selector: { matchLabels: selector }, action: 'ALLOW', rules: [allowRule(granted, resolved, tokens)] },
  }));
}

/** HTTP fields only on HTTP ports: with them, an ALLOW rule would be dropped on TCP. */
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

/** Whether an ALLOW of somebody else closes workloads of this service. In the root namespace it reaches every namespace. */
function governs(policy: ForeignPolicy, service: MeshService, mesh: Mesh): boolean {
  if (policy.action !== 'ALLOW') return false;
  if (policy.namespace !== service.namespace && policy.namespace !== mesh.rootNamespace) return false;
  const wanted = Object.entries(policy.selector ?? {});
  return (
    wanted.length === 0 ||
    service.workloads.some(({ labels }) => wanted.every(([name, value]) => labels[name] === value))
  );
}

function byName(a: ForeignPolicy, b: ForeignPolicy): number {
  return compare(`${a.namespace}/${a.name}`, `${b.namespace}/${b.name}`);
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
