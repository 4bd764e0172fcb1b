/** Compilation of the access file for a mesh, to ordinary Kubernetes and Istio resources. */
import { MeshpassError } from '@meshpass/identity';
import { byName, type Mesh } from '@meshpass/istio';
import type { Access, IdentityTokens, Manifest } from '../model.ts';
import { accessFileError } from '../problem.ts';
import { allowPolicies } from './allow.ts';
import { gateway } from './gateway.ts';
import { guard } from './guard.ts';
import { httpRules } from './http-rules.ts';
import { grantNamespaceManifest, roleBindings } from './namespace.ts';
import { requestAuthentication } from './request-authentication.ts';
import { resolveAccess } from './resolve.ts';
import { sidecar } from './sidecar.ts';

export interface CompileOptions {
  /**
   * How to handle targets that the mesh lacks or that cannot be guarded. `refuse` (default) is for new files.
   * `leave-out` is for an active file whose mesh has changed: it then grants less.
   */
  readonly missing?: 'refuse' | 'leave-out';
}

/**
 * Compiles an access file to Istio objects in the order of applying: denials before permissions.
 * @throws MeshpassError `access_service_unknown`, `access_port_unknown`, `access_port_undeclared`,
 *   `access_file_invalid` with every finding by line; `config_invalid` for a JWKS that must not be published
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
      .map(({ grant, target }) => httpRules(grant, target, tokens))
      .sort(inOrder),
    ...ports.flatMap(({ grant, target }) => allowPolicies(grant, target, mesh, tokens)).sort(inOrder),
    ...grants.map(sidecar).sort(inOrder),
    ...gateway(grants, mesh),
  ];
}

function inOrder({ metadata: a }: Manifest, { metadata: b }: Manifest): number {
  return byName({ namespace: '', ...a }, { namespace: '', ...b });
}
