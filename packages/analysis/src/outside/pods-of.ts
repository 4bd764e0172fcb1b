/** Finds the Pods of gateways, and the Pods and ports of destinations. */
import { memoize } from '@meshpass/identity';
import { type ClientProxy, destinationSettings, type MeshView } from '@meshpass/istio';
import { items, labels } from '@meshpass/istio/members';
import { type IstioProxy, listGatewayPods } from '../exposure/gateway-pods.ts';
import type { Target } from './router.ts';

/** Lists the Pods of a gateway that may call workloads. If no Pods are known, returns a placeholder. */
export function gatewayCallers(
  mesh: MeshView,
  proxy: IstioProxy,
): readonly (ClientProxy & { /** Undefined if unknown. */ readonly serviceAccount: string | undefined })[] {
  const pods = listGatewayPods(mesh, proxy);
  if (pods.length > 0) return pods;
  const { namespace = mesh.config.rootNamespace, selector = {}, account } = proxy;
  return [{ namespace, labels: selector, serviceAccount: account }];
}

/** Returns the DestinationRule settings that apply to calls from a proxy. */
export const destinationSettingsOf = memoize((mesh: MeshView) => destinationSettings(mesh, mesh.config));

/**
 * Returns the settings that select the Pods of a destination, by name (such as `selector`). The result is empty if the
 * destination's Service is unknown.
 * @param callers the gateway Pods that call the destination
 */
export function podSelection(
  mesh: MeshView,
  destination: Target['destination'] | undefined,
  callers: readonly ClientProxy[],
): ReadonlyMap<string, string> {
  const service = destination && mesh.serviceAt(destination.host);
  if (!service) return new Map();
  const { host, port, subset } = destination;
  const found = items(service.spec.ports).find((one) => one.port === port);
  const settings = callers.map((caller) => destinationSettingsOf(mesh)(caller, host));
  const ofSubset =
    subset === undefined ? [] : settings.map((one) => one.subsetLabels(subset)).filter((one) => one !== undefined);
  return new Map([
    ['selector', written(service.spec.selector)],
    ...(found ? [['target port', String(found.targetPort ?? found.port)] as const] : []),
    ...(ofSubset.length > 0
      ? [[`labels of subset ${subset}`, [...new Set(ofSubset.map(written))].join(' or ')] as const]
      : []),
  ]);
}

function written(given: Parameters<typeof labels>[0]): string {
  const list = Object.entries(labels(given)).map(([name, value]) => `${name}=${value}`);
  return list.length === 0 ? 'none' : list.toSorted().join(', ');
}

/** Describes how the selection of a destination's Pods changed, such as `selector app=admin, previously app=orders`. */
export function selectionChanges(
  before: ReadonlyMap<string, string>,
  after: ReadonlyMap<string, string>,
): readonly string[] {
  return [...after].flatMap(([name, value]) => {
    const previous = before.get(name);
    return previous === undefined || previous === value ? [] : [`${name} ${value}, previously ${previous}`];
  });
}

/** Returns the server name that a gateway uses for its connection to a workload (`BuildDNSSrvSubsetKey` in Istio). */
export function serverNameOf({ host, port, subset }: Target['destination']): string {
  return `outbound_.${port ?? ''}_.${subset ?? ''}_.${host}`;
}

interface GatewayTls {
  /** The reason why it is unknown which identity the workload sees. */
  readonly unknown?: string;
  /**
   * The DestinationRule that requires mutual TLS. If undefined, the gateway only uses mutual TLS if the workload
   * accepts it.
   */
  readonly required?: string;
}

/** Determines the client TLS settings of a gateway, which decide whether the workload sees the gateway's identity. */
export function clientTlsOf(
  mesh: MeshView,
  gateway: ClientProxy,
  { host, port, subset }: Target['destination'],
): GatewayTls {
  const found = destinationSettingsOf(mesh)(gateway, host).clientTls(port, subset);
  if (!found) return {};
  const { namespace, name } = found.by.metadata;
  const by = `DestinationRule ${namespace}/${name} sets the TLS of calls to ${host}`;
  // If a rule sets its own SNI or subject alternative names, the connection differs from plain Istio mutual TLS.
  const isMutual = found.mode === 'ISTIO_MUTUAL' && Object.keys(found.tls).every((member) => member === 'mode');
  return isMutual ? { required: by } : { unknown: by };
}
