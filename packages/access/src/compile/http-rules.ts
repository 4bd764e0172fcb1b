/**
 * HTTP rules. For each granted HTTP port, they list the requests that the workload's sidecar rejects when they come
 * from the grant's identities. Every rule is limited to the grant's namespace and to the SNIs of this port, in any
 * subset, so other callers and ports are not affected. On a TCP port of the same workload, Istio ignores the HTTP
 * fields of a DENY rule, which would then deny every connection with these SNIs. There are no such connections.
 */

import { sha256Hex } from '@meshpass/identity';
import { byName, type ForeignPolicy, type Mesh, type MeshService, selects } from '@meshpass/istio';
import type { ClaimValues, GrantTarget, IdentityTokens, Manifest, Operation } from '../model.ts';
import { metadata } from './metadata.ts';
import type { ResolvedGrant, ResolvedTarget } from './resolve.ts';
import { connectionsTo } from './server-names.ts';

/** Compiles the DENY policy for an HTTP port that is granted. */
export function compileHttpDenyPolicy(
  granted: ResolvedGrant,
  resolved: ResolvedTarget,
  tokens: IdentityTokens,
): Manifest {
  const { grant, namespace } = granted;
  const { target, service, port, host } = resolved;
  const onThisPort = connectionsTo(port.port, [host]);
  const from = [{ source: { namespaces: [namespace] } }];
  return {
    apiVersion: 'security.istio.io/v1',
    kind: 'AuthorizationPolicy',
    metadata: metadata(policyName(resolved, namespace), service.namespace, { grant: grant.name }),
    spec: {
      selector: { matchLabels: service.selector },
      action: 'DENY',
      rules: [
        {
          from: [{ source: { namespaces: [namespace], notRequestPrincipals: [anySubjectPrincipal(tokens)] } }],
          when: onThisPort,
        },
        { from, when: [...onThisPort, { key: 'request.auth.claims[grants]', notValues: [grant.name] }] },
        ...(target.allow
          ? refusedOperations(target.allow).map((operation) => ({ from, to: [{ operation }], when: onThisPort }))
          : []),
        ...(target.deny ? [{ from, to: inOrder(target.deny).map(toOperation), when: onThisPort }] : []),
        ...lacking(target.require).map((lacks) => ({ from, when: [...onThisPort, lacks] })),
        ...inOrder(target.allow ?? []).flatMap((operation) =>
          lacking(operation.require).map((lacks) => ({
            from,
            to: [toOperation(operation)],
            when: [...onThisPort, lacks],
          })),
        ),
      ],
    },
  };
}

/**
 * Returns the name `meshpass-GRANT.SERVICE.PORT`, which has at most 133 characters. DNS labels contain no dots, so
 * names never collide.
 */
export function policyName({ service, port }: ResolvedTarget, namespace: string): string {
  return `${namespace}.${service.name}.${port.port}`;
}

/** Returns the principal that matches every subject of our issuer. Istio splits principals at the last `/`. */
function anySubjectPrincipal(tokens: IdentityTokens): string {
  return `${tokens.issuer}/*`;
}

/** The claim of an identity token that contains all proof claims required anywhere in the access file. */
export const ATTESTED_CLAIMS = 'attested';

/**
 * Collects all claims that the targets require from callers, with their accepted values. The result is sorted by claim
 * name.
 * @example
 * ```ts
 * import { claimsDemanded } from '@meshpass/access/compile';
 * const place = { file: 'access.yaml', line: 4, column: 12 };
 * claimsDemanded([{ place, port: 80, require: { department: ['finance'] } }]); // => { department: ['finance'] }
 * ```
 */
export function claimsDemanded(targets: readonly GrantTarget[]): ClaimValues {
  const demands = targets.flatMap(({ require, allow = [] }) => [require, ...allow.map((one) => one.require)]);
  const byName = Map.groupBy(
    demands.flatMap((one) => Object.entries(one ?? {})),
    ([name]) => name,
  );
  return Object.fromEntries(
    [...byName]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, some]) => [name, [...new Set(some.flatMap(([, values]) => values))]]),
  );
}

/**
 * Builds a condition for each required claim. It matches if the claim is missing or has none of the accepted values.
 */
function lacking(require: ClaimValues | undefined): readonly { readonly key: string; readonly notValues: string[] }[] {
  return Object.entries(require ?? {})
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, values]) => ({
      key: `request.auth.claims[${ATTESTED_CLAIMS}][${name}]`,
      notValues: [...values].sort(),
    }));
}

/** Sorts operations, so that changing their order in the file does not change any object. */
function inOrder(operations: readonly Operation[]): readonly Operation[] {
  const key = ({ method, path, require }: Operation) => JSON.stringify([path, method, lacking(require)]);
  return operations.toSorted((a, b) => (key(a) < key(b) ? -1 : 1));
}

function toOperation({ method, path }: Operation): unknown {
  return { operation: { ...(method !== '*' && { methods: [method] }), paths: [path] } };
}

interface RefusedOperation {
  readonly methods?: readonly string[];
  readonly notMethods?: readonly string[];
  readonly notPaths?: readonly string[];
}

/**
 * Returns the complement of the granted operations as Istio operations: all other methods and, for each granted method,
 * every path that is not granted. HEAD and OPTIONS are only granted if they are listed.
 */
export function refusedOperations(allow: readonly Operation[]): readonly RefusedOperation[] {
  const pathsOf = (method: string) => allow.filter((operation) => operation.method === method).map(({ path }) => path);
  const anyMethod = pathsOf('*');
  const methods = [...new Set(allow.map(({ method }) => method))].filter((method) => method !== '*').sort();
  const distinct = (paths: readonly string[]) => [...new Set(paths)].sort();
  const others: RefusedOperation = {
    ...(methods.length > 0 && { notMethods: methods }),
    ...(anyMethod.length > 0 && { notPaths: distinct(anyMethod) }),
  };
  return [
    others,
    ...methods.map((method) => ({ methods: [method], notPaths: distinct([...pathsOf(method), ...anyMethod]) })),
  ];
}

// ALLOW policies. They are only needed for workloads to which an ALLOW policy applies that Meshpass does not manage (a
// foreign policy). The first ALLOW policy on a workload denies everything else by default, so Meshpass must never
// create the first one. The selector combines those of the service and of the foreign policy, so it never selects a
// workload that the foreign policy does not select.

/** Compiles the ALLOW policies for a port that is granted. */
export function compileAllowPolicies(
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
 * Builds the rule of an ALLOW policy. HTTP fields are only set for HTTP ports, because a rule with such fields never
 * matches TCP connections.
 */
function allowRule(
  { grant, namespace }: ResolvedGrant,
  { target, port, host }: ResolvedTarget,
  tokens: IdentityTokens,
): unknown {
  const onThisPort = connectionsTo(port.port, [host]);
  if (port.protocol === 'tcp') return { from: [{ source: { namespaces: [namespace] } }], when: onThisPort };
  return {
    from: [{ source: { namespaces: [namespace], requestPrincipals: [anySubjectPrincipal(tokens)] } }],
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

/**
 * Whether a foreign ALLOW policy applies to any workload of this service. Policies in the root namespace apply to all
 * namespaces.
 */
function governs(policy: ForeignPolicy, service: MeshService, mesh: Mesh): boolean {
  if (policy.action !== 'ALLOW') return false;
  if (policy.namespace !== service.namespace && policy.namespace !== mesh.rootNamespace) return false;
  return policy.selector === undefined || service.workloads.some(({ labels }) => selects(policy.selector, labels));
}
