/**
 * ClusterRoles that a grant assigns, and their namespaces. A role's rules must be known and must allow nothing beyond
 * what the grant lists.
 */
import { didYouMean, type Mesh, type Place } from '@meshpass/istio';
import { distinct } from '@meshpass/istio/members';
import type { Grant } from '../../model.ts';
import { type AccessFileProblem, problemAt } from '../../problem.ts';
import { isReserved, isSelection, selectedNamespaces } from '../../schema/selection.ts';
import { knownRoles, type RolePowers, whyRefused } from './role-powers.ts';

export interface ResolvedRole {
  readonly role: string;
  readonly namespace: string;
  readonly place: Place;
}

/** Resolves a grant's roles, with reasons for those that are refused. */
export function resolveRoles(
  grant: Grant,
  mesh: Mesh,
): { readonly roles: readonly ResolvedRole[]; readonly problems: readonly AccessFileProblem[] } {
  if (grant.kubernetesRoles.length === 0) return { roles: [], problems: [] };
  const problems: AccessFileProblem[] = [];
  const known = knownRoles(mesh.clusterRoles ?? []);
  const roles = grant.kubernetesRoles.flatMap((entry): ResolvedRole[] => {
    const { role, namespace, place } = entry;
    if (!isSelection(entry) && isReserved(namespace!, mesh)) {
      problems.push(problemAt(place, `${namespace} ${whyReserved(namespace!, mesh)}`));
      return [];
    }
    const refused = refusal(role, known, grant);
    if (refused) {
      problems.push({ ...refused, place });
      return [];
    }
    const namespaces = isSelection(entry) ? selectedNamespaces(entry, mesh) : [namespace!];
    return namespaces.map((one) => ({ role, namespace: one, place }));
  });
  return { roles: distinct(roles, (one) => `${one.role}@${one.namespace}`), problems };
}

/** Whether a namespace belongs to the mesh itself. */
export function isMeshOwn(namespace: string, mesh: Mesh): boolean {
  return namespace === mesh.rootNamespace || namespace === mesh.gateway.namespace;
}

/**
 * Returns why a namespace is reserved. Grant namespaces contain other people's ServiceAccounts, whose tokens are their
 * identities.
 */
function whyReserved(namespace: string, mesh: Mesh): string {
  if (isMeshOwn(namespace, mesh))
    return "holds the mesh's keys, so grants cannot bind roles there: use a different namespace";
  const whose = namespace.startsWith('kube-') ? 'Kubernetes' : 'Meshpass';
  return `belongs to ${whose}, so grants cannot bind roles there: use a different namespace`;
}

function refusal(
  role: string,
  known: ReadonlyMap<string, RolePowers>,
  grant: Grant,
): Pick<AccessFileProblem, 'code' | 'message'> | undefined {
  const powers = known.get(role);
  if (powers) return whyRefused(role, powers, grant.kubernetesAllow ?? []);
  return {
    code: 'access_role_unknown',
    message: `the ClusterRole ${role} is unknown, so its powers cannot be checked${didYouMean(role, [...known.keys()])}: create it, or add its manifest to the input`,
  };
}
