/** The access file compiled for a mesh, to ordinary Kubernetes and Istio resources. */
import { MeshpassError } from '@meshpass/identity';
import type { Mesh } from '@meshpass/istio';
import type { Access, IdentityTokens, Manifest } from '../model.ts';
import { accessFileError } from '../problem.ts';
import { allowPolicies } from './allow.ts';
import { gateway } from './gateway.ts';
import { guard } from './guard.ts';
import { httpRules } from './http-rules.ts';
import { grantNamespaceManifest, roleBindings } from './namespace.ts';
import { requestAuthentication } from './request-authentication.ts';
import { resolveAccess } from './resolve.ts';

export interface CompileOptions {
  /**
   * What to do about targets that the mesh does not have, or that cannot be guarded: `refuse` (default) is for a new file;
   * `leave-out` is for a file in force whose mesh changed under it, and grants the less.
   */
  readonly missing?: 'refuse' | 'leave-out';
}

/**
 * Compiles. The order is one in which to apply: what recognises and refuses comes before what lets in.
 * @throws MeshpassError `access_service_unknown`, `access_port_unknown`, `access_port_undeclared`, `access_file_invalid` with
 * every finding by line; `config_invalid` for a JWKS that must not be published
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
      `${access.file}: the audience ${tokens.audience} is the mesh's own, take it out of trust.audiences.`,
    );
  }
  const ports = grants.flatMap((grant) => grant.targets.map((target) => ({ grant, target })));
  return [
    ...grants.map(grantNamespaceManifest).sort(byName),
    ...grants.flatMap(roleBindings).sort(byName),
    requestAuthentication(mesh, tokens, access.file),
    ...grants.map((grant) => guard(grant, mesh)).sort(byName),
    ...ports
      .filter(({ target }) => target.port.protocol !== 'tcp')
      .map(({ grant, target }) => httpRules(grant, target, tokens))
      .sort(byName),
    ...ports.flatMap(({ grant, target }) => allowPolicies(grant, target, mesh, tokens)).sort(byName),
    ...gateway(grants, mesh, access.file),
  ];
}

function byName(a: Manifest, b: Manifest): number {
  const [left, right] = [a, b].map(({ metadata }) => `${metadata.namespace ?? ''}/${metadata.name}`) as [
    string,
    string,
  ];
  return left < right ? -1 : left > right ? 1 : 0;
}
