/**
 * Routes that lead out of a grant: a VirtualService sends what is called by a granted name to a service that the grant does not
 * give. istiod hands the route to the grant's workspaces as to any sidecar, and what they were not granted is refused there.
 */

import { coversHost, fullHost, type MeshView, type Path, type Place, type VirtualService } from '@meshpass/istio';
import { listed, texts } from '@meshpass/istio/members';
import { type Called, destinationsOf, isExportedTo } from './destinations.ts';

/** What a grant holds: an absent port is any, where it is not known which. */
export interface GrantReach {
  readonly grant: string;
  /** `meshpass-GRANT`. */
  readonly namespace: string;
  readonly place: Place;
  readonly ports: readonly Omit<Called, 'from'>[];
}

export interface RouteOutside {
  readonly on: VirtualService;
  readonly path: Path;
  readonly grant: GrantReach;
  /** `orders.shop.svc.cluster.local:8080`, each. */
  readonly called: readonly string[];
  readonly to: string;
  /** What becomes of what is called. */
  readonly does: 'refused' | 'closed' | 'not mirrored';
}

/** In the order of the grants; each destination once for each grant. */
export function routesOutside(mesh: MeshView, grants: readonly GrantReach[]): readonly RouteOutside[] {
  const governing = governingRoutes(mesh);
  return grants.flatMap((grant) => {
    const found = new Map<string, RouteOutside & { readonly called: string[] }>();
    for (const port of grant.ports) {
      for (const root of governing(port.host, grant.namespace)) {
        for (const { on, path, mirrored, ...to } of destinationsOf(root, { ...port, from: grant.namespace }, mesh)) {
          const host = fullHost(to.host, on.metadata.namespace, mesh.config.clusterDomain);
          const number = to.port ?? (port.protocol === 'tcp' ? onlyPort(mesh, host) : undefined) ?? port.port;
          if (holds(grant, host, number)) continue;
          const key = JSON.stringify([on.metadata.namespace, on.metadata.name, path, number]);
          const called = withPort(port.host, port.port);
          const known = found.get(key);
          if (known) known.called.push(called);
          else {
            const does = mirrored ? 'not mirrored' : port.protocol === 'http' ? 'refused' : 'closed';
            found.set(key, { on, path, grant, called: [called], to: withPort(host, number), does });
          }
        }
      }
    }
    return [...found.values()];
  });
}

/** Of the VirtualServices for sidecars of a namespace, those that name a host most exactly: istiod takes no other for it. */
function governingRoutes(mesh: MeshView): (host: string, namespace: string) => readonly VirtualService[] {
  const exact = new Map<string, VirtualService[]>();
  const wild: { readonly name: string; readonly on: VirtualService }[] = [];
  for (const on of mesh.all('VirtualService')) {
    const gateways = texts(on.spec.gateways);
    if (gateways.length > 0 && !gateways.includes('mesh')) continue;
    for (const written of new Set(texts(on.spec.hosts))) {
      const name = fullHost(written, on.metadata.namespace, mesh.config.clusterDomain).toLowerCase();
      if (name.startsWith('*')) wild.push({ name, on });
      else exact.set(name, [...(exact.get(name) ?? []), on]);
    }
  }
  wild.sort((a, b) => b.name.length - a.name.length);
  return (host, namespace) => {
    const named = (exact.get(host) ?? []).filter((on) => isExportedTo(on, namespace));
    if (named.length > 0) return named;
    const covering = wild.filter(({ name, on }) => coversHost(name, host) && isExportedTo(on, namespace));
    return covering.filter(({ name }) => name === covering[0]?.name).map(({ on }) => on);
  };
}

function holds({ ports }: GrantReach, host: string, port: number | undefined): boolean {
  return ports.some((one) => one.host === host && (one.port === undefined || port === undefined || one.port === port));
}

/**
 * For connections istiod takes the port of a destination that has only one. For requests it looks among the services of the port that
 * is called, so that it is that port (buildSidecarOutboundHTTPRouteConfig).
 */
function onlyPort(mesh: MeshView, host: string): number | undefined {
  const ports = mesh.serviceAt(host)?.spec.ports ?? [];
  return ports.length === 1 ? ports[0]!.port : undefined;
}

function withPort(host: string, port: number | undefined): string {
  return port === undefined ? host : `${host}:${port}`;
}

/** `calls of orders.shop... go to ledger.shop..., which grant dev (access.yaml:12) does not give: ...`, without a full stop. */
export function describeOutside({ grant, called, to, does }: RouteOutside): string {
  const { file, line } = grant.place;
  const which = `${to}, which grant ${grant.grant} (${file}:${line}) does not give`;
  const from = listed(called);
  switch (does) {
    case 'not mirrored':
      return `calls of ${from} are mirrored to ${which}: those of a Codespace are not`;
    case 'closed':
      return `connections to ${from} go to ${which}: those of a Codespace are not let through`;
    case 'refused':
      return `calls of ${from} go to ${which}: a Codespace that takes this route is refused with agent_route_not_granted`;
  }
}
