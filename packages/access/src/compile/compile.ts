/** Compiles an access file to plain Kubernetes and Istio resources for a given mesh. */
import { MeshpassError } from '@meshpass/identity';
import { byName, type Mesh } from '@meshpass/istio';
import type { Access, IdentityTokens, Manifest } from '../model.ts';
import { accessFileError } from '../problem.ts';
import { guard } from './guard.ts';
import { compileAllowPolicies, compileHttpDenyPolicy } from './http-rules.ts';
import { metadata } from './metadata.ts';
import { type ResolvedGrant, resolveAccess } from './resolve.ts';

export interface CompileOptions {
  /**
   * How to handle targets that are missing from the mesh or that cannot be guarded. Use `refuse` (the default) for a
   * new file. Use `leave-out` for an active file after the mesh has changed. The file then grants less than it says.
   */
  readonly missing?: 'refuse' | 'leave-out';
}

/**
 * Compiles an access file to Istio objects. They are returned in the order in which they must be applied: denials come
 * before permissions.
 * @throws MeshpassError `access_service_unknown`, `access_port_unknown`, `access_port_undeclared`,
 *   `access_file_invalid` with all problems, each with its line; `config_invalid` for a JWKS that must not be published
 * @example
 * ```ts
 * import { compile, meshOf, parseAccess } from '@meshpass/access';
 * import { loadManifests } from '@meshpass/istio';
 * const access = parseAccess(`
 * trust: {codespaces: {organization: acme}}
 * grants:
 *   dev: {who: [{user: alice}], to: [{service: orders.shop, port: 80}]}`, 'access.yaml');
 * const shape = {
 *   trustDomain: 'cluster.local', rootNamespace: 'istio-system', clusterDomain: 'cluster.local',
 *   gateway: { namespace: 'meshpass-system', labels: { istio: 'meshpass-gateway' }, port: 15443 },
 * };
 * const orders = `{apiVersion: v1, kind: Service, metadata: {name: orders, namespace: shop},
 *   spec: {selector: {app: orders}, ports: [{port: 80, name: http}]}}`;
 * const mesh = meshOf(loadManifests(orders, 'cluster.yaml').resources, shape);
 * const tokens = {
 *   issuer: 'https://broker.example', audience: 'mesh', header: 'x-meshpass-token',
 *   jwks: '{"keys":[{"kty":"RSA","kid":"1","n":"AQAB","e":"AQAB"}]}',
 * };
 * compile(access, mesh, tokens).map(({ kind, metadata }) => `${kind} ${metadata.name}`).slice(0, 3);
 * // => ['Namespace meshpass-dev', 'RequestAuthentication meshpass', 'AuthorizationPolicy meshpass-guard-dev']
 * ```
 */
export function compile(
  access: Access,
  mesh: Mesh,
  tokens: IdentityTokens,
  options: CompileOptions = {},
): readonly Manifest[] {
  const { grants, problems } = resolveAccess(access, mesh);
  if (problems.length > 0 && options.missing !== 'leave-out') throw accessFileError(problems);
  if (access.trust.audiences.includes(tokens.audience)) {
    throw new MeshpassError(
      'access_file_invalid',
      `${access.file}: the audience ${tokens.audience} belongs to the mesh: remove it from trust.audiences.`,
    );
  }
  const ports = grants.flatMap((grant) => grant.targets.map((target) => ({ grant, target })));
  return [
    ...grants.map(grantNamespaceManifest).sort(inOrder),
    ...grants.flatMap(roleBindings).sort(inOrder),
    requestAuthentication(mesh, tokens),
    ...grants.map((grant) => guard(grant, mesh)).sort(inOrder),
    ...ports
      .filter(({ target }) => target.port.protocol !== 'tcp')
      .map(({ grant, target }) => compileHttpDenyPolicy(grant, target, tokens))
      .sort(inOrder),
    ...ports.flatMap(({ grant, target }) => compileAllowPolicies(grant, target, mesh, tokens)).sort(inOrder),
    ...grants.map(sidecar).sort(inOrder),
    ...gateway(grants, mesh),
  ];
}

function inOrder({ metadata: a }: Manifest, { metadata: b }: Manifest): number {
  return byName({ namespace: '', ...a }, { namespace: '', ...b });
}

// The Gateway of the mesh. It determines which hosts can be reached through it.

/**
 * Compiles a Gateway that lists exactly the hosts that are granted. If nothing is granted, there is no Gateway.
 *
 * The hosts are full names, because Istio does not enforce the namespace of `namespace/host` in this mode. A Gateway
 * does not restrict ports either, so the edge and the guard do that. Istio builds these passthrough listeners without
 * authorization filters (pilot/pkg/networking/core/gateway.go), so policies have no effect here and are not needed.
 */
function gateway(grants: readonly ResolvedGrant[], mesh: Mesh): Manifest[] {
  const hosts = [...new Set(grants.flatMap(({ targets }) => targets.map(({ host }) => host)))].sort();
  if (hosts.length === 0) return [];
  return [
    {
      apiVersion: 'networking.istio.io/v1',
      kind: 'Gateway',
      metadata: metadata('meshpass', mesh.gateway.namespace),
      spec: {
        selector: mesh.gateway.labels,
        servers: [
          {
            port: { number: mesh.gateway.port, name: 'tls-meshpass', protocol: 'TLS' },
            tls: { mode: 'AUTO_PASSTHROUGH' },
            hosts,
          },
        ],
      },
    },
  ];
}

// The Sidecar of a grant, which determines the part of the mesh that its workspaces can see.

/** Istio's notation for a Sidecar that sees no hosts. An empty egress list would mean all hosts. */
const NOTHING = ['~/*'];

/**
 * Compiles the Sidecar for the grant's namespace. It makes istiod send configuration for the granted hosts only.
 *
 * A single listener without a port or address serves all hosts. Istio rejects two egress listeners with the same port
 * number, even if they bind different addresses (pkg/config/validation, ValidateSidecar), and routes are per port. The
 * broker binds istiod's listeners to loopback addresses. The `*` before the host includes VirtualServices in other
 * namespaces: just like for any other workload, all VirtualServices that are exported to this namespace apply.
 */
function sidecar({ grant, namespace, targets }: ResolvedGrant): Manifest {
  const hosts = [...new Set(targets.map(({ host }) => `*/${host}`))].sort();
  return {
    apiVersion: 'networking.istio.io/v1',
    kind: 'Sidecar',
    metadata: metadata('meshpass', namespace, { grant: grant.name }),
    spec: {
      egress: [{ hosts: hosts.length > 0 ? hosts : NOTHING }],
      outboundTrafficPolicy: { mode: 'REGISTRY_ONLY' },
    },
  };
}

// The namespace that contains a grant's ServiceAccounts, and the Kubernetes roles of these accounts.

/** Compiles a grant's namespace. */
function grantNamespaceManifest({ grant, namespace }: ResolvedGrant): Manifest {
  return {
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: metadata(namespace, undefined, { grant: grant.name }),
  };
}

/**
 * Compiles RoleBindings for the group of all ServiceAccounts in the grant's namespace (Kubernetes: Referring to
 * subjects, system:serviceaccounts:NAMESPACE).
 */
function roleBindings({ grant, namespace, roles }: ResolvedGrant): Manifest[] {
  return roles.map((role) => ({
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'RoleBinding',
    // The names of grants contain no dots, so this name is unique for each combination of grant and role.
    metadata: metadata(`${namespace}.${role.role}`, role.namespace, { grant: grant.name }),
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: role.role },
    subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'Group', name: `system:serviceaccounts:${namespace}` }],
  }));
}

// The RequestAuthentication of the mesh. It makes every sidecar recognize identity tokens. Requests without a token are
// not affected.

/**
 * The request headers in which applications receive the claims of an identity token. Envoy first removes any headers
 * with these names from incoming requests.
 */
export const CLAIM_HEADERS = {
  sub: 'x-meshpass-sub',
  login: 'x-meshpass-login',
  sid: 'x-meshpass-session',
  workspace: 'x-meshpass-workspace',
} as const;

/**
 * Compiles the RequestAuthentication for identity tokens.
 * @throws MeshpassError `config_invalid` if the JWKS is empty or contains a private key
 */
function requestAuthentication(mesh: Mesh, tokens: IdentityTokens): Manifest {
  checkJwks(tokens.jwks);
  return {
    apiVersion: 'security.istio.io/v1',
    kind: 'RequestAuthentication',
    metadata: metadata('meshpass', mesh.rootNamespace),
    spec: {
      jwtRules: [
        {
          issuer: tokens.issuer,
          audiences: [tokens.audience],
          jwks: tokens.jwks,
          fromHeaders: [{ name: tokens.header }],
          forwardOriginalToken: false,
          outputClaimToHeaders: Object.entries(CLAIM_HEADERS).map(([claim, header]) => ({ header, claim })),
        },
      ],
    },
  };
}

/**
 * Checks the JWKS. If it were empty, istiod would fetch keys from the issuer instead. If it contained a private key,
 * that key would be sent to every Envoy.
 */
function checkJwks(text: string): void {
  const problem = whatIsWrong(text);
  if (problem) throw new MeshpassError('config_invalid', `Cannot publish the identity token keys: ${problem}.`);
}

function whatIsWrong(text: string): string | undefined {
  try {
    const keys = (JSON.parse(text) as { readonly keys?: unknown } | null)?.keys;
    if (!Array.isArray(keys) || keys.length === 0) return 'the JWKS contains no keys';
    const isSecret = (key: unknown) => typeof key !== 'object' || key === null || 'd' in key || 'k' in key;
    return keys.some(isSecret) ? 'the JWKS contains a private or symmetric key' : undefined;
  } catch {
    return 'the JWKS is not valid JSON';
  }
}
