/**
 * Defines rules about entry points: administration interfaces, entry points that bypass the mesh, routes added by
 * EnvoyFilters, and references that are open to every namespace.
 */

import {
  type AllowedNamespaces,
  type AuthorizationPolicy,
  anyPod,
  type KubernetesGateway,
  type MeshView,
  type PeerAuthentication,
  proxyOfPod,
  selectorOf,
  selects,
} from '@meshpass/istio';
import { items } from '@meshpass/istio/members';
import { describeCalls, describeDestination, describeObject } from '../../exposure/describe.ts';
import {
  type EffectiveListener,
  hasNoSupportedKind,
  isEntryGateway,
  listenersOf,
} from '../../exposure/entries/gateway-listeners.ts';
import { isSystemNamespace } from '../../exposure/entries/pods.ts';
import type { Exposure } from '../../exposure/exposure.ts';
import { openPassages, type Passage, publicPassages, workloadsBehind } from '../../exposure/identity.ts';
import type { LintContext } from '../context.ts';
import { adminInterfaceName } from '../exposure/admin-tool.ts';
import { whyTestRoute } from '../exposure/test-names.ts';
import type { Severity } from '../model.ts';
import type { Report, Rule } from '../rule.ts';
import {
  checkEachExposure,
  describeEntryPoints,
  describeReach,
  isAddedByEnvoyFilter,
  openProblem,
  passageSeverity,
} from './passage-words.ts';

/**
 * Reports administration interfaces that are reachable from outside, so that only their own login protects them, if
 * they have one.
 */
const openAdminTool: Rule = {
  code: 'MP701',
  name: 'open-admin-tool',
  severity: 'error',
  title: 'An administration interface is reachable from outside without an identity',
  fix: 'Remove the route, and reach it with an identity (a grant in the access file, or `kubectl port-forward`); or require one at the entry point: a client certificate, a verified token, or an authenticating proxy.',
  check: checkEachExposure((exposure, context) => {
    const tool = isAddedByEnvoyFilter(exposure) ? undefined : adminInterfaceName(context, exposure);
    const open = tool === undefined ? [] : publicPassages(context, exposure);
    if (open.length === 0) return undefined;
    const reach = describeReach(exposure, open, `${tool} (${describeDestination(exposure)})`);
    return openProblem(open, `${reach}, so that only its own login protects it, if it has one.`);
  }),
};

/** Reports entry points that lead to a workload without passing a mesh proxy that requires an identity. */
const entryAroundMesh: Rule = {
  code: 'MP702',
  name: 'entry-around-mesh',
  severity: 'warning',
  title: 'An entry point leads around the mesh to a port where no proxy requires an identity',
  fix: 'Publish it through a gateway of the mesh, with the type ClusterIP; or set PeerAuthentication STRICT for the port, and give its Pods a sidecar.',
  check: checkEachExposure((exposure, context) => {
    if (exposure.entries.every(({ proxy }) => proxy.by === 'istio')) return undefined;
    if (!isOtherwiseGuarded(context.mesh, exposure) || isNodeAgent(context.mesh, exposure)) return undefined;
    const around = openPassages(context, exposure).filter(leadsAround);
    // Exposures that MP101 or MP701 already report are left out here. Those findings also describe what is exposed.
    if (around.length === 0 || adminInterfaceName(context, exposure) || whyTestRoute(context, exposure))
      return undefined;
    return {
      severity: weightOf(exposure, around),
      message: `${describeCalls(exposure)} reaches ${describeDestination(exposure)} through ${describeEntryPoints(around)}, and no proxy of the mesh requires an identity: ${around[0]!.atWorkload.reason}.`,
    };
  }),
};

/**
 * Checks whether the mesh is meant to protect a workload. It is if the workload's Namespace or Pods request a proxy, or
 * if a policy in its namespace selects it. A public site outside the mesh, on the other hand, bypasses nothing.
 */
function isOtherwiseGuarded(mesh: MeshView, exposure: Exposure): boolean {
  return workloadsBehind(mesh, exposure).some(({ namespace, labels: given }) => {
    if (given['sidecar.istio.io/inject'] === 'true') return true;
    if ([anyPod(namespace), anyPod(namespace, given)].some((one) => proxyOfPod(mesh, one).proxy !== 'none'))
      return true;
    return (['AuthorizationPolicy', 'PeerAuthentication'] as const)
      .flatMap((kind): readonly SelectingPolicy[] => mesh.within(kind, namespace))
      .some((policy) => selects(selectorOf(policy), given));
  });
}

/** Checks whether a Pod belongs to the system, or is not known to listen on any port. */
function isNodeAgent(mesh: MeshView, { pod, on }: Exposure): boolean {
  if (!pod || on.kind === 'Sidecar') return false;
  return pod.port === undefined || isSystemNamespace(mesh, pod.workload.namespace);
}

type SelectingPolicy = AuthorizationPolicy | PeerAuthentication;

function leadsAround({ entry, atWorkload }: Passage): boolean {
  const { by } = entry.proxy;
  // The controller is treated as part of the mesh unless the files rule this out.
  return by === 'none' || (by === 'controller' && !entry.proxy.assumed && !entry.proxy.meshed && !atWorkload.byDefault);
}

/**
 * Returns the severity of a finding. Node agents only result in notes, because they depend on the host network.
 * Findings that are based on Istio's default are also notes, because the files did not choose that default.
 */
function weightOf({ on }: Exposure, passages: readonly Passage[]): Severity {
  const counts = passages.some(
    ({ entry, atWorkload }) =>
      entry.internal === undefined &&
      atWorkload.state === 'none' &&
      !atWorkload.byDefault &&
      !isAgent(entry.kind, on.kind),
  );
  return counts ? 'warning' : 'note';
}

function isAgent(entry: string, kind: string): boolean {
  return kind === 'DaemonSet' && (entry === 'hostNetwork' || entry === 'hostPort');
}

/** Reports EnvoyFilters that expose a destination that no route object refers to. */
const envoyFilterRoute: Rule = {
  code: 'MP703',
  name: 'envoy-filter-route',
  severity: 'warning',
  title: 'An EnvoyFilter adds a route, virtual host or listener that exposes a destination at a gateway',
  fix: 'Write the route as a VirtualService or HTTPRoute, which other tools and reviewers see, or remove it.',
  check: checkEachExposure((exposure, context) => {
    const open = isAddedByEnvoyFilter(exposure) ? openPassages(context, exposure) : [];
    if (open.length === 0) return undefined;
    const unguarded = open.some(({ entry }) => entry.proxy.by === 'istio' && entry.proxy.withoutPolicies);
    const why = whyPrivate(context, exposure);
    const isError = (unguarded || why !== undefined) && passageSeverity(open) === 'error';
    const without = unguarded ? ", and none of Istio's policies applies there" : '';
    return {
      severity: isError ? 'error' : 'warning',
      message: `without a route object, ${describeReach(exposure, open)}${without}.${why ?? ''}`,
    };
  }),
};

/** Explains why the destination is not meant to be public. Returns undefined if there is no such reason. */
function whyPrivate(context: LintContext, exposure: Exposure): string | undefined {
  const tool = adminInterfaceName(context, exposure);
  if (tool) return ` It is an administration interface: ${tool}.`;
  const why = whyTestRoute(context, exposure);
  return why && ` It is a test route: ${why}.`;
}

/**
 * Reports Gateways on which every namespace can publish hosts, and ReferenceGrants that allow references from every
 * namespace.
 */
const openReference: Rule = {
  code: 'MP704',
  name: 'open-reference',
  severity: 'warning',
  title: 'A Gateway or ReferenceGrant lets every namespace attach or refer to it',
  fix: 'Write `from: Same`, or `from: Selector` with a label that only the platform team sets.',
  *check({ mesh }) {
    for (const gateway of mesh.all('KubernetesGateway').filter(isEntryGateway)) {
      for (const at of listenersOf(mesh, gateway)) yield* openListener(at);
      yield* openToListenerSets(gateway);
    }
    for (const grant of mesh.all('ReferenceGrant')) {
      const index = items(grant.spec.from).findIndex(({ namespace }) => namespace === '*');
      if (index < 0) continue;
      yield {
        on: grant,
        path: ['spec', 'from', index, 'namespace'],
        message: `${describeObject(grant)} allows references from every namespace.`,
      };
    }
  },
};

function* openListener({ on, path, listener }: EffectiveListener): Generator<Report> {
  const namespaces = listener.allowedRoutes?.namespaces;
  if (!isEvery(namespaces) || hasNoSupportedKind(listener)) return;
  const { hostname = '*' } = listener;
  const hosts = hostname === '*' ? 'any host' : `${hostname.startsWith('*') ? 'any host of' : 'paths of'} ${hostname}`;
  yield {
    on,
    path: [...path, 'allowedRoutes', 'namespaces', namespaces?.from === 'All' ? 'from' : 'selector'],
    message: `listener ${listener.name ?? '?'} of ${describeObject(on)} accepts routes of every namespace: anyone who may write a route anywhere can publish ${hosts} on port ${listener.port ?? '?'}.`,
  };
}

function* openToListenerSets(gateway: KubernetesGateway): Generator<Report> {
  const sets = gateway.spec.allowedListeners?.namespaces;
  if (!isEvery(sets)) return;
  yield {
    on: gateway,
    path: ['spec', 'allowedListeners', 'namespaces', sets?.from === 'All' ? 'from' : 'selector'],
    message: `${describeObject(gateway)} accepts ListenerSets of every namespace: anyone who may write one can publish hosts and ports there.`,
  };
}

/** Checks whether all namespaces are allowed. An empty selector selects every namespace. */
function isEvery(namespaces: AllowedNamespaces | undefined): boolean {
  if (namespaces?.from !== 'Selector') return namespaces?.from === 'All';
  const { matchLabels = {}, matchExpressions = [] } = namespaces.selector ?? {};
  return namespaces.selector !== undefined && Object.keys(matchLabels).length === 0 && matchExpressions.length === 0;
}

export const ENTRY_POINT_RULES: readonly Rule[] = [openAdminTool, entryAroundMesh, envoyFilterRoute, openReference];
