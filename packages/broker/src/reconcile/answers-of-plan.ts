/** What the access file in force gives, for sessions, edges and proxies. */
import { grantedPorts, kubernetesGrants, reachableServices } from '@meshpass/access';
import type { MeshState } from './contract.ts';
import type { Plan } from './make-plan.ts';

/** Each answers for what is in force when it is asked, and nothing before. */
export function answersOf(
  inForce: () => Plan | undefined,
  { offersKubernetes = false }: { readonly offersKubernetes?: boolean },
): Pick<MeshState, 'services' | 'ports' | 'kubernetes'> {
  return {
    services: (grants) => {
      const plan = inForce();
      return plan ? reachableServices(plan.access, plan.mesh, grants) : [];
    },
    ports: () => {
      const plan = inForce();
      return plan ? grantedPorts(plan.access, plan.mesh) : [];
    },
    kubernetes: () => {
      const plan = inForce();
      return plan && offersKubernetes ? kubernetesGrants(plan.access, plan.mesh) : new Map();
    },
  };
}
