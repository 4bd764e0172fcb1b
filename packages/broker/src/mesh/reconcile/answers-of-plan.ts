/** Answers queries from sessions, edges and proxies, using the access file in force. */
import { grantedPorts, kubernetesGrants, reachableServices } from '@meshpass/access';
import type { MeshState } from './contract.ts';
import type { Plan } from './make-plan.ts';

/**
 * Creates the queries on the plan in force. They return nothing before there is one. Results are computed once per
 * plan, because every change re-admits all sessions, each with its own queries.
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

/** Caches a result per plan. Plans are immutable, so a different access file or mesh is a new plan. */
function oncePerPlan<T>(make: (plan: Plan) => T): (plan: Plan) => T {
  const made = new WeakMap<Plan, { readonly value: T }>();
  return (plan) => {
    const known = made.get(plan) ?? { value: make(plan) };
    made.set(plan, known);
    return known.value;
  };
}
