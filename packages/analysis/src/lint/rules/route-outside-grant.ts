import { grantNamespace } from '@meshpass/identity';
import { protocolOf } from '@meshpass/istio';
import { describeOutside, type GrantReach, routesOutside } from '../../routes/outside-grant.ts';
import type { LintContext } from '../context.ts';
import { grantedHosts } from '../granted.ts';
import type { Rule } from '../rule.ts';

/**
 * A route of a granted service leads to a destination outside the grant: Codespaces are refused there, but Pods are
 * not.
 */
export const routeOutsideGrant: Rule = {
  code: 'MP112',
  name: 'route-outside-grant',
  severity: 'warning',
  title: 'A VirtualService leads from a granted service to one outside the grant',
  fix: 'Also grant the destination, or limit the route with `match.sourceNamespace` or `exportTo`.',
  *check(context) {
    for (const route of routesOutside(context.mesh, grantsOf(context))) {
      const { on, path } = route;
      yield { on, path, message: `${describeOutside(route)}.` };
    }
  },
};

function grantsOf({ access, mesh }: LintContext): readonly GrantReach[] {
  if (!access) return [];
  return access.grants.map((grant) => ({
    grant: grant.name,
    namespace: grantNamespace(grant.name),
    place: grant.place,
    ports: [...grantedHosts({ ...access, grants: [grant] }, mesh)].flatMap(([host, { ports }]) => {
      const known = ports.size > 0 ? [...ports] : [undefined];
      return known.map((port) => {
        const declared = mesh.serviceAt(host)?.spec.ports?.find((one) => one.port === port);
        const tcp = declared && protocolOf(declared.port, declared.appProtocol ?? declared.name ?? '') === 'tcp';
        return { host, port, protocol: tcp ? ('tcp' as const) : ('http' as const) };
      });
    }),
  }));
}
