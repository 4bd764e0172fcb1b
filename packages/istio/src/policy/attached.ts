/** The policies that a workload's proxy enforces, in the order of istiod. */

import type { MeshView } from '../mesh/view.ts';
import type { Workload } from '../mesh/workload.ts';
import type { AuthorizationPolicy, RequestAuthentication } from '../object/security.ts';
import { type AttachedService, attaches } from './attach.ts';

/** @param service what a waypoint is asked for; other proxies have none */
export function authorizationPolicies(
  view: MeshView,
  workload: Workload,
  service?: AttachedService,
): readonly AuthorizationPolicy[] {
  const root = view.config.rootNamespace;
  return namespaces(root, workload.namespace, service?.namespace).flatMap((namespace) =>
    view.within('AuthorizationPolicy', namespace).filter((policy) => attaches(policy, workload, root, service)),
  );
}

/** The workload's own namespace comes before the root namespace here. */
export function requestAuthentications(
  view: MeshView,
  workload: Workload,
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
