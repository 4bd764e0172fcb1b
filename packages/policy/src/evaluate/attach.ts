/** Which policies apply to a workload. Source: `pilot/pkg/model/policyattachment.go` of Istio 1.31. */
import type { Resource } from '../istio/resources.ts';
import type { Attachment, AuthorizationPolicy, RequestAuthentication, TargetRef } from '../istio/security.ts';
import type { MeshView } from './mesh-view.ts';
import { selects, type Workload } from './workload.ts';

/** A Service (or ServiceEntry) that a waypoint stands for. */
export interface AttachedService {
  readonly kind: 'Service' | 'ServiceEntry';
  readonly namespace: string;
  readonly name: string;
}

/**
 * Policies that apply, in the order of istiod.
 * @param service what a waypoint is asked for; other proxies have none
 */
export function authorizationPolicies(
  view: MeshView,
  workload: Workload,
  service?: AttachedService,
): readonly AuthorizationPolicy[] {
  return namespaces(view.config.rootNamespace, workload.namespace, service?.namespace).flatMap((namespace) =>
    view.within('AuthorizationPolicy', namespace).filter((policy) => attaches(view, policy, workload, service)),
  );
}

/** The workload's own namespace comes before the root namespace here. */
export function requestAuthentications(
  view: MeshView,
  workload: Workload,
  service?: AttachedService,
): readonly RequestAuthentication[] {
  return namespaces(workload.namespace, view.config.rootNamespace, service?.namespace).flatMap((namespace) =>
    view.within('RequestAuthentication', namespace).filter((policy) => attaches(view, policy, workload, service)),
  );
}

function attaches(
  view: MeshView,
  { metadata, spec }: Resource & { readonly spec: Attachment },
  workload: Workload,
  service: AttachedService | undefined,
): boolean {
  const gateway = workload.labels['gateway.networking.k8s.io/gateway-name'];
  const targets = targetRefs(spec);
  const bySelector = () => selects(spec.selector?.matchLabels, workload.labels);
  if (gateway === undefined) return targets.length === 0 && bySelector();
  const waypoint = workload.kind === 'waypoint';
  if (targets.length === 0) return !waypoint && bySelector();
  return targets.some((target) => {
    if (waypoint && service && isTarget(target, service)) return service.namespace === metadata.namespace;
    if (waypoint && isClass(target)) return metadata.namespace === view.config.rootNamespace;
    if (workload.namespace !== metadata.namespace) return false;
    if (target.namespace && target.namespace !== workload.namespace) return false;
    return target.group === 'gateway.networking.k8s.io' && target.kind === 'Gateway' && target.name === gateway;
  });
}

/** The list, or the older single form. */
export function targetRefs(spec: Attachment): readonly TargetRef[] {
  if (spec.targetRefs && spec.targetRefs.length > 0) return spec.targetRefs;
  return spec.targetRef ? [spec.targetRef] : [];
}

function isTarget(target: TargetRef, service: AttachedService): boolean {
  const group = service.kind === 'Service' ? ['', 'core', undefined] : ['networking.istio.io'];
  return group.includes(target.group) && target.kind === service.kind && target.name === service.name;
}

function isClass({ group, kind, name }: TargetRef): boolean {
  return group === 'gateway.networking.k8s.io' && kind === 'GatewayClass' && name === 'istio-waypoint';
}

function namespaces(...names: readonly (string | undefined)[]): readonly string[] {
  return [...new Set(names.filter((name) => name !== undefined))];
}
