/**
 * Limits that an installation sets for all of its access files. For the broker, admission policies enforce them as
 * well.
 */
import { distinct } from '@meshpass/istio/members';
import type { Access, Grant, GrantRole, GrantTarget } from '../model.ts';
import { type AccessFileProblem, accessFileError, formatPlace } from '../problem.ts';

export interface Bounds {
  /**
   * The services that may be granted, as `SERVICE.NAMESPACE`, where `*` matches any part of a name. If empty, services
   * and namespaces are not restricted.
   */
  readonly services: readonly string[];
  /** The ClusterRoles that may be granted. If empty, roles are not restricted. */
  readonly roles: readonly string[];
}

/**
 * Rejects an access file that exceeds the limits, as far as the file alone reveals this. Only the cluster knows which
 * Services an entry selects by labels or patterns.
 * @throws MeshpassError `policy_forbidden`
 * @example
 * ```ts
 * import { checkBounds, parseAccess } from '@meshpass/access';
 * const access = parseAccess(`
 * trust: {codespaces: {organization: acme}}
 * grants: {dev: {who: [{user: alice}], to: [{service: orders.shop, port: 80}]}}`, 'access.yaml');
 * checkBounds(access, { services: ['*.shop'], roles: [] });
 * ```
 */
export function checkBounds(access: Access, bounds: Bounds): void {
  // An entry with more than one port becomes a separate target for each port, so its problems would be reported
  // repeatedly.
  const problems = distinct(
    access.grants.flatMap((grant) => problemsOf(grant, bounds)),
    ({ place, message }) => `${formatPlace(place)} ${message}`,
  );
  if (problems.length > 0) throw accessFileError(problems);
}

function problemsOf({ to, kubernetesRoles }: Grant, { services, roles }: Bounds): readonly AccessFileProblem[] {
  const isService = anyOf(services);
  const isNamespace = anyOf(services.map((one) => one.slice(one.indexOf('.') + 1)));
  const isRole = (role: string) => roles.length === 0 || roles.includes(role);
  const forbidden = ({ place }: GrantTarget | GrantRole, what: string, list: readonly string[], key: string) => ({
    code: 'policy_forbidden' as const,
    place,
    message: `access files may not grant ${what} here: the chart's ${key} lists ${list.join(', ')}`,
  });
  return [
    ...to.flatMap((target) => {
      const { service, namespace } = nameOf(target);
      if (namespace === undefined || namespace.includes('*')) return [];
      const name = service && `${service}.${namespace}`;
      if (name === undefined ? isNamespace(namespace) : isService(name)) return [];
      return [forbidden(target, name ?? `services in ${namespace}`, services, 'admission.services')];
    }),
    ...kubernetesRoles.flatMap((one) => {
      const { role, namespace } = one;
      if (!isRole(role)) return [forbidden(one, `the role ${role}`, roles, 'admission.roles')];
      if (namespace === undefined || namespace.includes('*') || isNamespace(namespace)) return [];
      return [forbidden(one, `roles in ${namespace}`, services, 'admission.services')];
    }),
  ];
}

function nameOf({ host, service, namespace }: GrantTarget): Partial<Record<'service' | 'namespace', string>> {
  if (host === undefined) return { ...(service && { service }), ...(namespace && { namespace }) };
  const [first, second] = host.split('.');
  return { ...(first && { service: first }), ...(second && { namespace: second }) };
}

function anyOf(patterns: readonly string[]): (name: string) => boolean {
  const any = (character: string) => (character === '*' ? '[a-z0-9-]*' : `\\${character}`);
  const all = patterns.map((one) => new RegExp(`^${one.replace(/[^a-zA-Z0-9-]/g, any)}$`));
  return (name) => all.length === 0 || all.some((pattern) => pattern.test(name));
}
