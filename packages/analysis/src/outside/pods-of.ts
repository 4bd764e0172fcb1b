/** Pods of gateways, and of destinations with their ports. */
import { memoize } from '@meshpass/identity/memory/remembered';
import { type ClientProxy, destinationSettings, type MeshView } from '@meshpass/istio';
import { items, labels } from '@meshpass/istio/members';
import { type IstioProxy, listGatewayPods } from '../exposure/gateway-pods.ts';
import type { Target } from './router.ts';

/** Lists a gateway's Pods as callers of workloads; without Pods, a stand-in. */
export function gatewayCallers(
  mesh: MeshView,
  proxy: IstioProxy,
): readonly (ClientProxy & { /** Undefined if it is not known. */ readonly serviceAccount: string | undefined })[] {
  const pods = listGatewayPods(mesh, proxy);
  if (pods.length > 0) return pods;
  const { namespace = mesh.config.rootNamespace, selector = {}, account } = proxy;
  return [{ namespace, labels: selector, serviceAccount: account }];
}

/** Returns the settings of DestinationRules for calls of a proxy. */
export const destinationSettingsOf = memoize((mesh: MeshView) => destinationSettings(mesh, mesh.config));

/**
 * Returns what selects the Pods of a destination, by name: `selector`. Empty if its Service is not among the objects.
 * @param callers Pods of gateways that lead there
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

/** Describes how the Pods of a destination changed: `selector app=admin, previously app=orders`. */
export function selectionChanges(
  before: ReadonlyMap<string, string>,
  after: ReadonlyMap<string, string>,
): readonly string[] {
  return [...after].flatMap(([name, value]) => {
    const previous = before.get(name);
    return previous === undefined || previous === value ? [] : [`${name} ${value}, previously ${previous}`];
  });
}

interface GatewayTls {
  /** Reason why it is unknown which identity the workload sees. */
  readonly unknown?: string;
  /** DestinationRule that requires mutual TLS. If undefined, the gateway uses it where the workload accepts it. */
  readonly required?: string;
}

/** Determines the client TLS of a gateway's calls, which decides whether the workload sees the gateway's identity. */
export function clientTlsOf(
  mesh: MeshView,
  gateway: ClientProxy,
  { host, port, subset }: Target['destination'],
): GatewayTls {
  const found = destinationSettingsOf(mesh)(gateway, host).clientTls(port, subset);
  if (!found) return {};
  const { namespace, name } = found.by.metadata;
  const by = `DestinationRule ${namespace}/${name} sets the TLS of calls to ${host}`;
  // An SNI or SubjectAltNames of the rule's own change the connection.
  const isMutual = found.mode === 'ISTIO_MUTUAL' && Object.keys(found.tls).every((member) => member === 'mode');
  return isMutual ? { required: by } : { unknown: by };
}
