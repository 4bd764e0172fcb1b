/**
 * Hosts that several VirtualServices have at the same gateway Pods: istiod merges their routes, and the first one that
 * matches everything receives all calls that the more specific routes leave. Sources: VirtualService reference;
 * `buildGatewayHTTPRouteConfig` in pilot/pkg/networking/core/gateway.go; `SortVHostRoutes` in route/route.go.
 */
import {
  coversHost,
  exportToOf,
  type Gateway,
  type GatewayServer,
  hostsMeet,
  type MeshConfig,
  type MeshView,
  serverHost,
  type VirtualService,
} from '@meshpass/istio';
import { items, labels, texts } from '@meshpass/istio/members';

/** Server of a Gateway at which a route of a VirtualService matches everything. */
export interface CatchAll {
  readonly root: VirtualService;
  readonly gateway: Gateway;
  readonly server: GatewayServer;
}

/**
 * Returns whether other VirtualServices receive all calls that one would match at a server.
 * @param catchAlls oldest VirtualService first
 */
export function mergedHosts(mesh: MeshView, catchAlls: readonly CatchAll[]): (at: CatchAll) => boolean {
  const servers = mesh.all('Gateway').flatMap(({ spec }) => items(spec.servers));
  const order = new Map(servers.map((server, index) => [server, index]));
  const first = new Map<string, VirtualService>();
  // istiod reads server by server, and the VirtualServices of each.
  for (const at of catchAlls
    .filter(({ root }) => isPublic(root, mesh.config))
    .toSorted((a, b) => order.get(a.server)! - order.get(b.server)!)) {
    for (const key of hostKeys(at)) if (!first.has(key)) first.set(key, at.root);
  }
  return (at) => isPublic(at.root, mesh.config) && hostKeys(at).every((key) => (first.get(key) ?? at.root) !== at.root);
}

/** Whether every gateway reads a VirtualService. Others precede these, where they are read. */
function isPublic(root: VirtualService, config: MeshConfig): boolean {
  return exportToOf(root, config).includes('*');
}

/** Identifies the virtual hosts. Gateways of the same Pods share a plain port; a server with TLS has its own. */
function hostKeys({ root, gateway, server }: CatchAll): readonly string[] {
  const { namespace, name } = gateway.metadata;
  const { port, tls, bind = '' } = server;
  const isShared = tls === undefined && /^(?:http|http2|grpc|grpc-web)$/i.test(String(port?.protocol));
  const pods = JSON.stringify(Object.entries(labels(gateway.spec.selector)).sort());
  const listener = [namespace, pods, port?.number, bind, isShared ? '' : `${name} ${port?.name}`].join(' ');
  return texts(server.hosts).flatMap((written) => {
    const served = serverHost(written, namespace);
    if (served.namespace !== undefined && served.namespace !== root.metadata.namespace) return [];
    return texts(root.spec.hosts)
      .filter((host) => hostsMeet(host, served.host))
      .map((host) => `${listener} ${(coversHost(served.host, host) ? host : served.host).toLowerCase()}`);
  });
}
