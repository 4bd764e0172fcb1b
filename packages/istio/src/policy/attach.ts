/** Which policies a proxy enforces. Source: pilot/pkg/model/policyattachment.go (`ShouldAttachPolicy`) of Istio 1.31. */

import type { ProxyKind } from '../mesh/pod.ts';
import type { Labels } from '../object/object.ts';
import type { Resource } from '../object/resources.ts';
import type { Attachment, TargetRef } from '../object/security.ts';

/** A proxy, as policies see it. */
export interface MeshProxy {
  readonly namespace: string;
  readonly labels: Labels;
  readonly kind: ProxyKind;
}

/** A Service (or ServiceEntry) that a waypoint stands for. */
export interface AttachedService {
  readonly kind: 'Service' | 'ServiceEntry';
  readonly namespace: string;
  readonly name: string;
}

export type AttachedPolicy = Pick<Resource, 'metadata'> & { readonly spec: Attachment };

/** On Pods of a Gateway of the Kubernetes Gateway API. */
export const GATEWAY_NAME = 'gateway.networking.k8s.io/gateway-name';

/**
 * Whether a policy that stands in one of the proxy's namespaces (its own, the root's, the service's) is enforced by it: sidecars and
 * Istio's own gateways go by labels and leave alone what has `targetRefs`; Gateways of the Gateway API go by both, waypoints by
 * `targetRefs` alone.
 * @param service what a waypoint is asked for; other proxies have none
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

/** The list, or the older single form. */
export function targetRefs(spec: Attachment): readonly TargetRef[] {
  if (spec.targetRefs && spec.targetRefs.length > 0) return spec.targetRefs;
  return spec.targetRef ? [spec.targetRef] : [];
}

/** Whether a policy is one that sidecars may enforce: not one of a Gateway, a waypoint or a Service behind one. */
export function isForSidecars({
  spec,
}: {
  readonly spec?: { readonly targetRef?: unknown; readonly targetRefs?: readonly unknown[] | undefined } | undefined;
}): boolean {
  return !spec?.targetRef && !spec?.targetRefs?.length;
}

/** The labels by which a policy selects; undefined for one that means a whole namespace (in the root namespace: the mesh). */
export function selectorOf({
  spec,
}: {
  readonly spec?: { readonly selector?: { readonly matchLabels?: Labels | undefined } | undefined } | undefined;
}): Labels | undefined {
  const labels = spec?.selector?.matchLabels;
  return labels && Object.keys(labels).length > 0 ? labels : undefined;
}

/** Whether every label of the selector is there; an empty selector selects everything. */
export function selects(selector: Labels | undefined, labels: Labels): boolean {
  for (const label in selector) if (!Object.hasOwn(labels, label) || labels[label] !== selector[label]) return false;
  return true;
}

function isTarget(target: TargetRef, service: AttachedService): boolean {
  const group = service.kind === 'Service' ? ['', 'core', undefined] : ['networking.istio.io'];
  return group.includes(target.group) && target.kind === service.kind && target.name === service.name;
}

function isClass({ group, kind, name }: TargetRef): boolean {
  return group === 'gateway.networking.k8s.io' && kind === 'GatewayClass' && name === 'istio-waypoint';
}
