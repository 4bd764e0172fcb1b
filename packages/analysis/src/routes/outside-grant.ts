/**
 * Finds VirtualServices that route calls for a granted name to a service outside the grant. istiod sends these routes
 * to the grant's workspaces as it does to any sidecar, so the workspaces' calls are refused at the other service.
 */

import {
  coversHost,
  fullHost,
  isExportedTo,
  type MeshView,
  type Path,
  type Place,
  type VirtualService,
} from '@meshpass/istio';
import { listed, texts } from '@meshpass/istio/members';
import { possibleDestinations, type SidecarCall } from './destinations.ts';

/** A grant's ports. A missing port number is unknown and may be any port. */
export interface GrantReach {
  readonly grant: string;
  /** `meshpass-GRANT`. */
  readonly namespace: string;
  readonly place: Place;
  readonly ports: readonly Omit<SidecarCall, 'from'>[];
}

export interface RouteOutsideGrant {
  readonly on: VirtualService;
  readonly path: Path;
  readonly grant: GrantReach;
  /** Granted ports whose calls match the route, such as `orders.shop.svc.cluster.local:8080`. */
  readonly called: readonly string[];
  readonly to: string;
  /** Effect on a workspace's calls. */
  readonly does: 'refused' | 'closed' | 'not mirrored';
}

/** Lists routes to destinations outside their grant, in grant order. Each destination is listed once per grant. */
export function findRoutesOutsideGrants(mesh: MeshView, grants: readonly GrantReach[]): readonly RouteOutsideGrant[] {
  const governing = governingRoutes(mesh);
  return grants.flatMap((grant) => {
    const found = new Map<string, RouteOutsideGrant & { readonly called: string[] }>();
    for (const port of grant.ports) {
      for (const root of governing(port.host, grant.namespace)) {
        for (const { on, path, mirrored, ...to } of possibleDestinations(
          root,
          { ...port, from: grant.namespace },
          mesh,
        )) {
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

/**
 * Creates a function that returns the VirtualServices that apply to a host for sidecars in a namespace. These are only
 * the ones with the most specific matching host, because istiod ignores all others.
 */
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
    const named = (exact.get(host) ?? []).filter((on) => isExportedTo(on, namespace, mesh.config));
    if (named.length > 0) return named;
    const covering = wild.filter(({ name, on }) => coversHost(name, host) && isExportedTo(on, namespace, mesh.config));
    return covering.filter(({ name }) => name === covering[0]?.name).map(({ on }) => on);
  };
}

function holds({ ports }: GrantReach, host: string, port: number | undefined): boolean {
  return ports.some((one) => one.host === host && (one.port === undefined || port === undefined || one.port === port));
}

/**
 * Returns the port for a destination that does not specify one. For connections, istiod uses the destination's only
 * port. For requests, it searches the services of the called port and therefore uses that port
 * (buildSidecarOutboundHTTPRouteConfig).
 */
function onlyPort(mesh: MeshView, host: string): number | undefined {
  const ports = mesh.serviceAt(host)?.spec.ports ?? [];
  return ports.length === 1 ? ports[0]!.port : undefined;
}

function withPort(host: string, port: number | undefined): string {
  return port === undefined ? host : `${host}:${port}`;
}

/**
 * Formats `calls to orders.shop... go to ledger.shop..., which is outside grant dev (access.yaml:12): ...`. Adds no
 * trailing period.
 */
export function describeRouteOutside({ grant, called, to, does }: RouteOutsideGrant): string {
  const { file, line } = grant.place;
  const which = `${to}, which is outside grant ${grant.grant} (${file}:${line})`;
  const from = listed(called);
  switch (does) {
    case 'not mirrored':
      return `calls to ${from} are mirrored to ${which}: calls from a Codespace are not mirrored`;
    case 'closed':
      return `connections to ${from} go to ${which}: connections from a Codespace are refused`;
    case 'refused':
      return `calls to ${from} go to ${which}: a Codespace on this route is refused with agent_route_not_granted`;
  }
}
