/** What the access file in force gives, for sessions, edges and proxies. */
import { grantedPorts, kubernetesGrants, reachableServices } from '@meshpass/access';
import type { MeshState } from './contract.ts';
import type { Plan } from './make-plan.ts';

/**
 * Each answers for what is in force when it is asked, and nothing before. A plan is looked at once for all of its sessions: at each
 * change every session is admitted anew, and each is asked for what it may reach.
 */
export function answersOf(
  inForce: () => Plan | undefined,
  { offersKubernetes = false }: { readonly offersKubernetes?: boolean },
): Pick<MeshState, 'services' | 'ports' | 'kubernetes'> {
  const servicesByGrant = oncePerPlan(({ access, mesh }) => {
    const names = access.grants.map(({ name }) => name);
    return Map.groupBy(reachableServices(access, mesh, names), ({ grant }) => grant);
  });
  const kubernetes = oncePerPlan(({ access, mesh }) => kubernetesGrants(access, mesh));
  return {
    services: (grants) => {
      const plan = inForce();
      if (!plan) return [];
      const wanted = new Set(grants);
      return [...servicesByGrant(plan)].flatMap(([grant, services]) => (wanted.has(grant) ? services : []));
    },
    ports: () => {
      const plan = inForce();
      return plan ? grantedPorts(plan.access, plan.mesh) : [];
    },
    kubernetes: () => {
      const plan = inForce();
      return plan && offersKubernetes ? kubernetes(plan) : new Map();
    },
  };
}

/** @param make of a plan, which does not change: another access file or mesh is another plan */
function oncePerPlan<T>(make: (plan: Plan) => T): (plan: Plan) => T {
  const made = new WeakMap<Plan, { readonly value: T }>();
  return (plan) => {
    const known = made.get(plan) ?? { value: make(plan) };
    made.set(plan, known);
    return known.value;
  };
}
