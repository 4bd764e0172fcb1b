/** Which ClusterRoles a grant gives, and where: only roles whose rules are known, and allow nothing that the grant does not name. */
import { didYouMean, type Mesh, type Place } from '@meshpass/istio';
import type { Grant } from '../../model.ts';
import type { AccessFileProblem } from '../../problem.ts';
import { isReserved, isSelection, selectedNamespaces } from '../../schema/selection.ts';
import { knownRoles, type RolePowers, whyRefused } from './role-powers.ts';

export interface ResolvedRole {
  readonly role: string;
  readonly namespace: string;
  readonly place: Place;
}

/** The roles of a grant that are given, and why the others are not. */
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
      problems.push({ code: 'access_file_invalid', place, message: `${namespace} ${whyReserved(namespace!, mesh)}` });
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
  const distinct = new Map(roles.toReversed().map((one) => [`${one.role}@${one.namespace}`, one]));
  return { roles: [...distinct.values()].toReversed(), problems };
}

export function isMeshOwn(namespace: string, mesh: Mesh): boolean {
  return namespace === mesh.rootNamespace || namespace === mesh.gateway.namespace;
}

/** Those of grants hold the ServiceAccounts of other people: their tokens are their identities. */
function whyReserved(namespace: string, mesh: Mesh): string {
  if (isMeshOwn(namespace, mesh)) return 'holds the keys of the mesh: no role is given there';
  const whose = namespace.startsWith('kube-') ? 'Kubernetes' : 'Meshpass';
  return `is a namespace of ${whose}: no role is given there`;
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
    message: `the ClusterRole ${role} is not known, so nothing says what it allows${didYouMean(role, [...known.keys()])}: create it, or add its manifest to what is read`,
  };
}
