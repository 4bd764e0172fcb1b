/** Whether the way through a gateway asks a caller who he is: at the gateway, or at the workload behind it. */
import type { AuthorizationPolicy, Gateway, HttpMatch, HttpRoute, StringMatch } from '../istio/resources.ts';
import { refusalOf } from './anonymous.ts';
import type { Exposure, GatewayUse } from './exposure.ts';
import { serviceName } from './host.ts';
import { hasLabels, items, labels, record } from './read.ts';
import type { MeshView } from './view.ts';
import { targetPortOf, type Workload } from './workload.ts';

/** Gateways of an exposure through which nobody is asked for an identity. */
export function openGateways(view: MeshView, exposure: Exposure): readonly GatewayUse[] {
  return exposure.gateways.filter(
    (use) => !demandedByTls(use) && !demandedAtGateway(view, exposure, use) && !demandedAtWorkload(view, exposure, use),
  );
}

/** `MUTUAL` demands a certificate that the gateway's own roots verify. */
function demandedByTls({ servers }: GatewayUse): boolean {
  return servers.length > 0 && servers.every(({ tls }) => tls?.mode === 'MUTUAL' || tls?.mode === 'ISTIO_MUTUAL');
}

function demandedAtGateway(view: MeshView, exposure: Exposure, { gateway }: GatewayUse): boolean {
  if (!gateway) return false;
  const call = { peer: undefined, hosts: exposure.hosts, uris: urisOf(exposure.matches), port: undefined };
  return refusalOf(policiesAtGateway(view, gateway), call) !== undefined;
}

function demandedAtWorkload(view: MeshView, exposure: Exposure, { gateway, name }: GatewayUse): boolean {
  const pods = gateway ? gatewayWorkloads(view, gateway) : [];
  const serviceAccounts = new Set(pods.map((one) => `${one.namespace} ${one.serviceAccount}`));
  const peer = {
    namespace: pods[0]?.namespace ?? gateway?.metadata.namespace ?? name.slice(0, name.indexOf('/')),
    serviceAccount: serviceAccounts.size === 1 ? pods[0]!.serviceAccount : undefined,
  };
  const call = { peer, hosts: exposure.hosts, uris: rewritten(exposure.matches, exposure.route) };
  const workloads = exposure.service ? view.workloadsOf(exposure.service) : [];
  if (workloads.length > 0) {
    return workloads.every(
      (one) => refusalOf(view.policiesOn(one), { ...call, port: podPort(exposure, one) }) !== undefined,
    );
  }
  const policies = policiesOfUnknown(view, exposure);
  return policies.length > 0 && refusalOf(policies, { ...call, port: undefined }) !== undefined;
}

/** Pods that a Gateway is for. */
export function gatewayWorkloads(view: MeshView, gateway: Gateway): readonly Workload[] {
  const selector = labels(gateway.spec.selector);
  return Object.keys(selector).length === 0 ? [] : view.workloads.filter((one) => hasLabels(selector, one.labels));
}

/** Policies that the gateway's own proxy enforces. Where its pods are not among the files, their labels are the selector's. */
export function policiesAtGateway(view: MeshView, gateway: Gateway): readonly AuthorizationPolicy[] {
  const pods = gatewayWorkloads(view, gateway);
  if (pods.length > 0) return view.policiesOn(pods[0]!);
  const selector = labels(gateway.spec.selector);
  return view.of('AuthorizationPolicy').filter(({ metadata, spec }) => {
    const wanted = labels(record(spec.selector).matchLabels);
    if (Object.keys(wanted).length === 0)
      return (
        !spec.targetRef &&
        !spec.targetRefs &&
        [view.rootNamespace, gateway.metadata.namespace].includes(metadata.namespace)
      );
    return Object.keys(selector).length > 0 && hasLabels(wanted, selector);
  });
}

/** The workload is not among the files: policies of its namespace count where they select all, or name the service. */
function policiesOfUnknown(view: MeshView, { destination, service }: Exposure): readonly AuthorizationPolicy[] {
  const known = serviceName(destination.host, view.clusterDomain);
  if (!known) return [];
  const pods = service ? labels(service.spec.selector) : { app: known.name, 'app.kubernetes.io/name': known.name };
  const workload = { namespace: known.namespace, labels: pods } as Workload;
  return view.policiesOn(workload);
}

function podPort({ destination, service }: Exposure, workload: Workload): number | undefined {
  const ports = items(service?.spec.ports);
  const port =
    destination.port === undefined
      ? ports.length === 1
        ? ports[0]
        : undefined
      : ports.find((one) => one.port === destination.port);
  return port && targetPortOf(workload, port.targetPort ?? port.port);
}

export function urisOf(matches: readonly HttpMatch[]): readonly (StringMatch | undefined)[] {
  return matches.map(({ uri }) => uri);
}

/** Paths as the workload sees them, after the route's rewrite. */
function rewritten(matches: readonly HttpMatch[], route: HttpRoute | undefined): readonly (StringMatch | undefined)[] {
  const to = record(route?.rewrite);
  if (typeof to.uriRegexRewrite === 'object') return [];
  if (typeof to.uri !== 'string') return urisOf(matches);
  return matches.map(({ uri }) => {
    if (uri?.exact !== undefined) return { exact: to.uri as string };
    return uri?.prefix !== undefined ? { prefix: to.uri as string } : undefined;
  });
}
