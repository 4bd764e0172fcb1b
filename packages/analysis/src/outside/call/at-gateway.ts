/** Finds the gateways on a port, which are the routers that share its listener. */
import { memoize } from '@meshpass/identity';
import { coversHost, type KubernetesGateway, type MeshView } from '@meshpass/istio';
import type { EntryPoint } from '../../exposure/exposure.ts';
import { listGatewayPods } from '../../exposure/gateway-pods.ts';
import { gatewayApiRouters } from '../gateway-api-routers.ts';
import { istioRouters } from '../istio-routers.ts';
import { type Router, serverNames, serverOf } from '../router.ts';
import { type PartialAnswer, refusal, unknownAnswer } from './answer.ts';
import type { OutsideRequest } from './request.ts';

/** The routers that are served by the same Pods on the same port. */
export type GatewayRouters = readonly [Router, ...Router[]];

const routersOf = memoize((mesh: MeshView): readonly Router[] =>
  [...istioRouters(mesh), ...gatewayApiRouters(mesh)].filter(({ entry }) => entry.object !== undefined),
);

/** Lists the gateways that listen on a given port. */
export function gatewaysOnPort(mesh: MeshView, port: number): readonly GatewayRouters[] {
  const there = routersOf(mesh).filter(({ listener }) => listener.port === port);
  const groups = [...Map.groupBy(there, keyOf).values()] as [Router, ...Router[]][];
  return groups.map(([first, ...more]) => {
    // Gateways of the other API may be served by the same Pods, in which case they share the listener.
    const others = groups.filter(([other]) => other !== first && sharePods(mesh, first.entry, other.entry)).flat();
    return [first, ...more, ...others];
  });
}

/**
 * Returns a key that is the same for routers with the same Pods. Istio Gateways in different namespaces may select the
 * same Pods.
 */
function keyOf({ entry: { proxy }, table }: Router): string {
  if (table?.merged) return `merged ${JSON.stringify(table.merged)}`;
  return JSON.stringify(proxy.by === 'istio' ? [proxy.selector, proxy.confined && proxy.namespace] : proxy);
}

function sharePods(mesh: MeshView, one: EntryPoint, other: EntryPoint): boolean {
  if (one.kind === other.kind || one.proxy.by !== 'istio' || other.proxy.by !== 'istio') return false;
  const known = new Set(listGatewayPods(mesh, one.proxy));
  return listGatewayPods(mesh, other.proxy).some((pod) => known.has(pod));
}

/**
 * Selects the router that handles a connection, based on its protocol and, for TLS, also on its SNI and certificate.
 */
export function selectRouter(
  routers: GatewayRouters,
  { tls, http }: Pick<OutsideRequest, 'tls' | 'http'>,
): Router | PartialAnswer {
  const [first] = routers;
  const { port } = first.listener;
  const { name } = first.entry;
  const kinds = new Set(routers.map(({ entry, listener }) => `${entry.kind} ${socketOf(listener.protocol)}`));
  if (kinds.size > 1) return unknownAnswer('listener', `objects of different kinds or protocols share port ${port}`);
  const socket = socketOf(first.listener.protocol);
  if (socket === 'tcp')
    return unknownAnswer('listener', `port ${port} of ${name} forwards connections, which are not evaluated`);
  if (socket === 'http') return tls ? refusal('tls', `port ${port} of ${name} does not accept TLS`) : first;
  if (!tls) return refusal('tls', `port ${port} of ${name} only accepts TLS`);
  return first.entry.kind === 'KubernetesGateway' ? byListener(routers, tls, http) : bySni(routers, tls);
}

function socketOf(protocol: Router['listener']['protocol']): 'http' | 'tls' | 'tcp' {
  if (protocol === 'http') return 'http';
  return protocol === 'https' || protocol === 'tls' ? 'tls' : 'tcp';
}

type Tls = NonNullable<OutsideRequest['tls']>;

/**
 * Checks the SNI. A single router contains the routes of all listeners on the port, so the SNI has to match the host.
 */
function byListener(routers: readonly Router[], { sni }: Tls, http: OutsideRequest['http']): Router | PartialAnswer {
  const [router] = routers as [Router];
  if (routers.length > 1 || router.listener.protocol !== 'https' || !http)
    return unknownAnswer('tls', 'listeners of the Gateway API that do not terminate TLS are not evaluated');
  const [host] = http.authority.toLowerCase().split(/:(?=\d*$)/);
  if (sni?.toLowerCase() !== host)
    return unknownAnswer(
      'tls',
      'the SNI differs from the Host header, and listeners of the Gateway API share routes here',
    );
  const { spec } = router.entry.object as KubernetesGateway;
  if (spec.tls) return unknownAnswer('tls', 'validation of client certificates by the Gateway is not evaluated');
  return router;
}

/** Selects the server whose hosts match the SNI most specifically. */
function bySni(routers: readonly Router[], { sni, certificate }: Tls): Router | PartialAnswer {
  const hosts = routers.flatMap((router) => serverNames(router).map((host) => ({ router, host })));
  const twice = hosts.find((one) => hosts.some((other) => other.router !== one.router && other.host === one.host));
  if (twice) return unknownAnswer('tls', `several servers have host ${twice.host}, and Envoy rejects their listener`);
  const covering = hosts.filter(({ host }) => host === '*' || (sni !== undefined && coversHost(host, sni)));
  const [best] = covering.toSorted((a, b) => rankOf(b.host) - rankOf(a.host));
  const forwards = covering.filter(({ router }) => router.listener.protocol === 'tls');
  if (forwards.length > 0 && new Set(covering.map(({ router }) => router)).size > 1)
    return unknownAnswer('tls', `several servers have hosts for SNI ${sni}, and one of them forwards connections`);
  if (forwards.some(({ router }) => serverOf(router)?.tls?.mode !== 'PASSTHROUGH'))
    return unknownAnswer('tls', 'servers that terminate TLS and forward connections are not evaluated');
  if (!best)
    return refusal('tls', sni === undefined ? 'every server requires an SNI' : `no server has a host for SNI ${sni}`);
  return checked(best.router, certificate);
}

/** Ranks exact hosts above wildcards, and longer wildcards above shorter ones. */
function rankOf(host: string): number {
  return host.startsWith('*') ? host.length : Number.MAX_SAFE_INTEGER;
}

/** Checks whether the gateway accepts the client's certificate. */
function checked(router: Router, certificate: Tls['certificate']): Router | PartialAnswer {
  const { mode = 'SIMPLE' } = serverOf(router)?.tls ?? {};
  const { object } = router.entry;
  const place = object?.origin.at(['spec', 'servers']);
  const refused = (reason: string) => refusal('tls', reason, undefined, place && { place });
  switch (mode) {
    case 'SIMPLE':
    case 'PASSTHROUGH':
      return router;
    case 'MUTUAL':
    case 'ISTIO_MUTUAL':
      if (!certificate) return refused(`the gateway requires a client certificate (${mode})`);
      return certificate.trusted ? router : refused('the gateway does not trust the client certificate');
    case 'OPTIONAL_MUTUAL':
      return certificate?.trusted === false ? refused('the gateway does not trust the client certificate') : router;
    default:
      return unknownAnswer('tls', `servers with TLS mode ${mode} are not evaluated`);
  }
}

/**
 * Returns the principal of the client, as the gateway's policies see it. `unnamed` is true if the client's certificate
 * does not contain a SPIFFE ID.
 */
export function clientPrincipal(
  router: Router,
  certificate: Tls['certificate'],
): { readonly principal?: string; readonly unnamed: boolean } {
  const asks = /MUTUAL$/.test(serverOf(router)?.tls?.mode ?? '');
  if (!certificate || !asks) return { unnamed: false };
  return certificate.principal === undefined ? { unnamed: true } : { principal: certificate.principal, unnamed: false };
}
