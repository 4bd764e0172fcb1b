/** Whether the way through a gateway asks a caller who he is: at the gateway, or at the workload behind it. */
import type { Gateway, HttpMatch, HttpRoute, StringMatch } from '../istio/networking.ts';
import type { AuthorizationPolicy } from '../istio/security.ts';
import { refusalOf } from './anonymous.ts';
import type { Exposure, GatewayUse } from './exposure.ts';
import { serviceName } from './host.ts';
import { hasLabels, items, labels, record } from './read.ts';
import type { MeshView } from './view.ts';
import { targetPortOf, type Workload } from './workload.ts';

/** Gateways of an exposure through which nobody is asked for an identity. */
export function openGateways(view: MeshView, exposure: Exposure): readonly GatewayUse[] {
  if (demandedByMatch(exposure)) return [];
  return exposure.gateways.filter(
    (use) => !demandedByTls(use) && !demandedAtGateway(view, exposure, use) && !demandedAtWorkload(view, exposure, use),
  );
}

/** A gateway knows claims of verified tokens only. Source: https://istio.io/latest/docs/tasks/security/authentication/jwt-route/ */
function demandedByMatch({ matches }: Exposure): boolean {
  return (
    matches.length > 0 &&
    matches.every(({ headers }) => Object.keys(record(headers)).some((name) => name.startsWith('@request.auth.claims')))
  );
}

/** `MUTUAL` demands a certificate that the gateway's own roots verify. */
function demandedByTls({ servers }: GatewayUse): boolean {
  return servers.length > 0 && servers.every(({ tls }) => tls?.mode === 'MUTUAL' || tls?.mode === 'ISTIO_MUTUAL');
}

function demandedAtGateway(view: MeshView, exposure: Exposure, { gateway }: GatewayUse): boolean {
  if (!gateway) return false;
  const policies = policiesAtGateway(view, gateway);
  return callsOf(exposure.hosts, urisOf(exposure.matches)).every(
    (call) => refusalOf(policies, { ...call, peer: undefined, port: undefined }) !== undefined,
  );
}

function demandedAtWorkload(view: MeshView, exposure: Exposure, { gateway, name }: GatewayUse): boolean {
  const pods = gateway ? gatewayWorkloads(view, gateway) : [];
  const serviceAccounts = new Set(pods.map((one) => `${one.namespace} ${one.serviceAccount}`));
  const peer = {
    namespace: pods[0]?.namespace ?? gateway?.metadata.namespace ?? name.slice(0, name.indexOf('/')),
    serviceAccount: serviceAccounts.size === 1 ? pods[0]!.serviceAccount : undefined,
  };
  const calls = callsOf(exposure.hosts, rewritten(exposure.matches, exposure.route));
  const refused = (policies: readonly AuthorizationPolicy[], port: number | undefined) =>
    calls.every((call) => refusalOf(policies, { ...call, peer, port }) !== undefined);
  const workloads = exposure.service ? view.workloadsOf(exposure.service) : [];
  if (workloads.length > 0) return workloads.every((one) => refused(view.policiesOn(one), podPort(exposure, one)));
  const policies = policiesOfUnknown(view, exposure);
  return policies.length > 0 && refused(policies, undefined);
}

/** Each alternative by itself: one policy may guard one path, and another the next. */
function callsOf(hosts: readonly string[], uris: readonly (StringMatch | undefined)[]) {
  const paths = uris.length > 0 ? uris : [undefined];
  return hosts.flatMap((host) => paths.map((uri) => ({ hosts: [host], uris: [uri] })));
}

/** Pods that a Gateway is for. */
export function gatewayWorkloads(view: MeshView, gateway: Gateway): readonly Workload[] {
  return known(view, gateway).pods;
}

/** Policies that the gateway's own proxy enforces. Where its pods are not among the files, their labels are the selector's. */
export function policiesAtGateway(view: MeshView, gateway: Gateway): readonly AuthorizationPolicy[] {
  return known(view, gateway).policies;
}

interface Known {
  readonly pods: readonly Workload[];
  readonly policies: readonly AuthorizationPolicy[];
}

/** A gateway has many routes, and finding its pods takes a look at all pods. */
const KNOWN = new WeakMap<MeshView, Map<Gateway, Known>>();

function known(view: MeshView, gateway: Gateway): Known {
  const gateways = KNOWN.get(view) ?? new Map<Gateway, Known>();
  KNOWN.set(view, gateways);
  let found = gateways.get(gateway);
  if (!found) {
    const pods = findPods(view, gateway);
    found = { pods, policies: findPolicies(view, gateway, pods) };
    gateways.set(gateway, found);
  }
  return found;
}

function findPods(view: MeshView, gateway: Gateway): readonly Workload[] {
  const selector = labels(gateway.spec.selector);
  return Object.keys(selector).length === 0 ? [] : view.workloads.filter((one) => hasLabels(selector, one.labels));
}

function findPolicies(view: MeshView, gateway: Gateway, pods: readonly Workload[]): readonly AuthorizationPolicy[] {
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
