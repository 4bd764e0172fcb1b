/** Defines rules about the hosts of VirtualServices. */

import {
  coversHost,
  exportToOf,
  fullHost,
  identityOf,
  type MeshConfig,
  type MeshView,
  serviceName,
  type VirtualService,
} from '@meshpass/istio';
import { items, texts } from '@meshpass/istio/members';
import { describeEntry, describeObject } from '../../exposure/describe.ts';
import { virtualServiceRoutes } from '../../routes/http-routes.ts';
import { gatewayServers, hostsOf, textsOf } from '../parts.ts';
import type { Problem, Rule } from '../rule.ts';

/** Reports VirtualServices that match every host of a gateway, including the hosts of other teams. */
const anyHostRoute: Rule = {
  code: 'MP103',
  name: 'any-host-route',
  severity: 'warning',
  title: 'A VirtualService matches every host of a gateway or of the mesh',
  fix: 'List the intended hosts.',
  *check(context) {
    for (const route of context.mesh.all('VirtualService')) {
      const index = texts(route.spec.hosts).indexOf('*');
      // TCP routes have no host, so `*` is the only possible value.
      if (index < 0 || (items(route.spec.http).length === 0 && items(route.spec.tls).length === 0)) continue;
      const bound = texts(route.spec.gateways);
      // A redirect of every host to HTTPS is common. It exposes nothing, so it is not listed here.
      const exposed = context.exposures.filter(({ root, protocol }) => root === route && protocol !== 'tcp');
      const uses = new Set(exposed.flatMap(({ entries }) => entries.map(describeEntry)));
      const at = { on: route, path: ['spec', 'hosts', index] };
      if (bound.length === 0 || bound.includes('mesh')) {
        yield {
          ...at,
          severity: 'error',
          message: `the host * without a gateway captures the calls of every sidecar to every service and sends them to the destination of this route.`,
        };
      } else if (uses.size > 0) {
        yield {
          ...at,
          message: `the host * on ${[...uses].join(' and ')} answers for every name that resolves to it, including other teams' names and names that do not exist yet.`,
        };
      }
    }
  },
};

/**
 * Reports VirtualServices for a public host that are not bound to the gateway, so that they have no effect on calls
 * from outside.
 */
const unboundHost: Rule = {
  code: 'MP104',
  name: 'unbound-host',
  severity: 'warning',
  title: 'A VirtualService names a host of a gateway without being bound to the gateway',
  fix: 'Write `gateways: [NAMESPACE/NAME]`; add `mesh` only if the route also applies to sidecars.',
  *check(context) {
    const { clusterDomain } = context.mesh.config;
    const served = gatewayServers(context)
      .flatMap(hostsOf)
      .filter(({ host }) => host !== '*' && !host.endsWith('.local'));
    if (served.length === 0) return;
    for (const route of context.mesh.all('VirtualService')) {
      if (texts(route.spec.gateways).length > 0) continue;
      const { namespace } = route.metadata;
      for (const { on, path, value: host } of textsOf(route, ['spec', 'hosts'], route.spec.hosts)) {
        if (host === '*' || serviceName(fullHost(host, namespace, clusterDomain), clusterDomain)) continue;
        const at = served.find(
          (one) => (one.namespace === undefined || one.namespace === namespace) && coversHost(one.host, host),
        );
        if (!at) continue;
        const message = `${host} is served by ${identityOf(at.on)}, but this VirtualService does not name a gateway, so it only applies to sidecars: its matches have no effect at the gateway.`;
        yield { on, path, message };
      }
    }
  },
};

/** Reports routes for a host in another namespace, if they apply to every sidecar in the mesh. */
const exportedEverywhere: Rule = {
  code: 'MP107',
  name: 'exported-everywhere',
  severity: 'warning',
  title: 'A VirtualService reroutes the calls of every sidecar to a service of another namespace',
  fix: 'Write `exportTo: ["."]` so that it applies to its own namespace only, or move it to the namespace of the service.',
  *check(context) {
    const { config } = context.mesh;
    // Sidecars do not merge VirtualServices. For each host, they only apply the first one.
    const first = new Map<string, VirtualService>();
    for (const route of context.mesh.all('VirtualService').filter((one) => isForEverySidecar(one, config))) {
      for (const { on, path, value } of textsOf(route, ['spec', 'hosts'], route.spec.hosts)) {
        const host = fullHost(value, route.metadata.namespace, config.clusterDomain);
        const applied = first.get(host) ?? route;
        first.set(host, applied);
        const rerouted = whyRerouted(context.mesh, route, value);
        if (rerouted) yield { on, path, ...(applied === route ? rerouted : behind(applied, rerouted)) };
      }
    }
  },
};

/** Rewords the finding for a VirtualService if another one for the same host takes precedence. */
function behind(first: VirtualService, { message }: Problem): Problem {
  return {
    severity: 'warning',
    message: `${describeObject(first)} has the same host and comes first, so sidecars apply that one instead. Without it, ${message}`,
  };
}

function whyRerouted(mesh: MeshView, route: VirtualService, written: string): Problem | undefined {
  const { clusterDomain } = mesh.config;
  const { namespace } = route.metadata;
  const host = fullHost(written, namespace, clusterDomain);
  const owner = serviceName(host, clusterDomain)?.namespace;
  const wildcard = written.startsWith('*.') && written.endsWith(`.${clusterDomain}`);
  if (!wildcard && (owner === undefined || owner === namespace)) return undefined;
  const elsewhere = virtualServiceRoutes(mesh)(route)
    .flatMap(({ on, destinations }) =>
      destinations.map(({ destination }) => fullHost(destination?.host ?? '', on.metadata.namespace, clusterDomain)),
    )
    .find((to) => to !== host);
  const defaulted = texts(route.spec.exportTo).length === 0;
  return {
    severity: elsewhere === undefined ? 'warning' : 'error',
    message: `every sidecar of the mesh applies this route to its calls to ${host}, which belongs to ${owner === undefined ? 'others' : `namespace ${owner}`}${elsewhere === undefined ? '' : `: they are sent to ${elsewhere}`}${defaulted ? '. Without exportTo a VirtualService is exported everywhere' : ''}.`,
  };
}

function isForEverySidecar(route: VirtualService, config: MeshConfig): boolean {
  const bound = texts(route.spec.gateways);
  return (bound.length === 0 || bound.includes('mesh')) && exportToOf(route, config).includes('*');
}

export const ROUTE_HOST_RULES: readonly Rule[] = [anyHostRoute, unboundHost, exportedEverywhere];
