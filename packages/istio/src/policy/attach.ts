/**
 * Determines which policies a proxy enforces. Source: pilot/pkg/model/policyattachment.go (`ShouldAttachPolicy`) of
 * Istio 1.31.
 */

import { GATEWAY_NAME, type MeshProxy } from '../mesh/proxy.ts';
import type { MeshView } from '../mesh/view.ts';
import type { Resource } from '../object/resources.ts';
import type { Attachment, AuthorizationPolicy, RequestAuthentication, TargetRef } from '../object/security.ts';
import { selects, targetRefs } from '../object/selection.ts';

/** A Service or ServiceEntry behind a waypoint. */
export interface AttachedService {
  readonly kind: 'Service' | 'ServiceEntry';
  readonly namespace: string;
  readonly name: string;
}

export type AttachedPolicy = Pick<Resource, 'metadata'> & { readonly spec: Attachment };

/**
 * Whether a proxy enforces a policy. The policy must be in one of the namespaces that apply to the proxy: its own, the
 * root namespace, or that of the Service. Sidecars and Istio's own gateways use label selectors and ignore policies
 * with `targetRefs`. Gateways of the Gateway API use both. Waypoints only use `targetRefs`.
 * @param service the destination of a call through a waypoint. Absent for other proxies
 * @example
 * ```ts
 * import { attaches, loadManifests } from '@meshpass/istio';
 * const policy = `{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: orders, namespace: shop},
 *   spec: {action: DENY, selector: {matchLabels: {app: orders}}, rules: [{}]}}`;
 * const { resources } = loadManifests(`${policy}`, 'mesh.yaml');
 * const sidecar = { namespace: 'shop', labels: { app: 'orders' }, kind: 'sidecar' as const };
 * const [one] = resources;
 * one!.kind === 'AuthorizationPolicy' && attaches(one!, sidecar, 'istio-system'); // => true
 * ```
 */
export function attaches(
  { metadata, spec }: AttachedPolicy,
  proxy: MeshProxy,
  rootNamespace: string,
  service?: AttachedService,
): boolean {
  const gateway = proxy.labels[GATEWAY_NAME];
  const targets = targetRefs(spec);
  const bySelector = () => selects(spec.selector?.matchLabels, proxy.labels);
  if (gateway === undefined) return targets.length === 0 && bySelector();
  const waypoint = proxy.kind === 'waypoint';
  if (targets.length === 0) return !waypoint && bySelector();
  return targets.some((target) => {
    if (waypoint && service && isTarget(target, service)) return service.namespace === metadata.namespace;
    if (waypoint && isClass(target)) return metadata.namespace === rootNamespace;
    if (proxy.namespace !== metadata.namespace) return false;
    if (target.namespace && target.namespace !== proxy.namespace) return false;
    return target.group === 'gateway.networking.k8s.io' && target.kind === 'Gateway' && target.name === gateway;
  });
}

/**
 * Lists the AuthorizationPolicies that a proxy enforces. Policies in the root namespace come first.
 * @param service the destination of a call through a waypoint. Absent for other proxies
 * @example
 * ```ts
 * import { authorizationPolicies, loadManifests, viewMesh } from '@meshpass/istio';
 * const policy = `{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: orders, namespace: shop},
 *   spec: {action: DENY, selector: {matchLabels: {app: orders}}, rules: [{}]}}`;
 * const pod = `{apiVersion: v1, kind: Pod, metadata: {name: orders-1, namespace: shop, labels: {app: orders, pod-template-hash: 5f}},
 *   spec: {serviceAccountName: orders, containers: [{name: app, ports: [{name: web, containerPort: 8080}]}]}}`;
 * const { resources } = loadManifests(`${policy}\n---\n${pod}`, 'mesh.yaml');
 * const view = viewMesh(resources);
 * authorizationPolicies(view, view.workloads[0]!).map(({ metadata }) => metadata.name); // => ['orders']
 * ```
 */
export function authorizationPolicies(
  view: MeshView,
  workload: MeshProxy,
  service?: AttachedService,
): readonly AuthorizationPolicy[] {
  const root = view.config.rootNamespace;
  return namespaces(root, workload.namespace, service?.namespace).flatMap((namespace) =>
    view.within('AuthorizationPolicy', namespace).filter((policy) => attaches(policy, workload, root, service)),
  );
}

/**
 * Lists the RequestAuthentications that a proxy enforces. Unlike AuthorizationPolicies, those in the workload's own
 * namespace come before those in the root namespace.
 * @example
 * ```ts
 * import { loadManifests, requestAuthentications, viewMesh } from '@meshpass/istio';
 * const pod = `{apiVersion: v1, kind: Pod, metadata: {name: orders-1, namespace: shop, labels: {app: orders, pod-template-hash: 5f}},
 *   spec: {serviceAccountName: orders, containers: [{name: app, ports: [{name: web, containerPort: 8080}]}]}}`;
 * const { resources } = loadManifests(`${pod}`, 'mesh.yaml');
 * const view = viewMesh(resources);
 * requestAuthentications(view, view.workloads[0]!); // => []
 * ```
 */
export function requestAuthentications(
  view: MeshView,
  workload: MeshProxy,
  service?: AttachedService,
): readonly RequestAuthentication[] {
  const root = view.config.rootNamespace;
  return namespaces(workload.namespace, root, service?.namespace).flatMap((namespace) =>
    view.within('RequestAuthentication', namespace).filter((policy) => attaches(policy, workload, root, service)),
  );
}

function namespaces(...names: readonly (string | undefined)[]): readonly string[] {
  return [...new Set(names.filter((name) => name !== undefined))];
}

function isTarget(target: TargetRef, service: AttachedService): boolean {
  const group = service.kind === 'Service' ? ['', 'core', undefined] : ['networking.istio.io'];
  return group.includes(target.group) && target.kind === service.kind && target.name === service.name;
}

function isClass({ group, kind, name }: TargetRef): boolean {
  return group === 'gateway.networking.k8s.io' && kind === 'GatewayClass' && name === 'istio-waypoint';
}
