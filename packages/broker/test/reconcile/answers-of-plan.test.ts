/** A plan is computed once for any number of sessions. */
import { meshOf, parseAccess } from '@meshpass/access';
import { loadManifests, type MeshClusterRole } from '@meshpass/istio';
import { describe, expect, it } from 'vitest';
import { answersOf } from '../../src/mesh/reconcile/answers-of-plan.ts';
import type { Plan } from '../../src/mesh/reconcile/make-plan.ts';

const access = parseAccess(
  `trust: {codespaces: {organization: acme}}
grants:
  first: {who: [{user: alice}], to: [{service: orders.shop, port: 80}], kubernetes: {roles: [view@shop]}}
  second: {who: [{user: alice}], to: [{service: orders.shop, port: 80}], kubernetes: {roles: [view@shop, view@audit]}}
`,
  'access.yaml',
);
const orders = `{apiVersion: v1, kind: Service, metadata: {name: orders, namespace: shop},
  spec: {selector: {app: orders}, ports: [{port: 80, name: http}]}}`;

/** @param verbs of `view`; the test counts each read of them */
function planOf(verbs: readonly string[]) {
  let looks = 0;
  const rule = {
    apiGroups: [''],
    resources: ['pods', 'secrets'],
    get verbs() {
      looks++;
      return verbs;
    },
  };
  const clusterRoles: readonly MeshClusterRole[] = [{ name: 'view', rules: [rule] }];
  const mesh = {
    ...meshOf(loadManifests(orders, 'cluster.yaml').resources, {
      trustDomain: 'cluster.local',
      rootNamespace: 'istio-system',
      clusterDomain: 'cluster.local',
      gateway: { namespace: 'meshpass-system', labels: { istio: 'meshpass-gateway' }, port: 15443 },
    }),
    clusterRoles,
  };
  const plan: Plan = { access, mesh, manifests: [], tokenKeys: new Set(), content: '' };
  return { plan, looks: () => looks };
}

describe('answersOf', () => {
  it('reads the rules of a ClusterRole no more often for many sessions and grants', () => {
    const { plan, looks } = planOf([]);
    const { services, kubernetes } = answersOf(() => plan, { offersKubernetes: true });
    kubernetes();
    const once = looks();
    expect(once).toBeGreaterThan(0);
    for (let session = 0; session < 50; session++) {
      expect(services(['second', 'first', 'unknown']).map(({ grant }) => grant)).toEqual(['first', 'second']);
      expect(services(['second']).map(({ grant }) => grant)).toEqual(['second']);
      expect(kubernetes().get('second')).toEqual(['audit', 'shop']);
    }
    expect(looks()).toBe(once);
  });

  it('answers for the plan that is in force when it is asked', () => {
    let inForce: Plan | undefined;
    const { services, kubernetes } = answersOf(() => inForce, { offersKubernetes: true });
    expect([services(['first']), [...kubernetes()]]).toEqual([[], []]);
    inForce = planOf([]).plan;
    expect([...kubernetes().keys()]).toEqual(['first', 'second']);
    inForce = planOf(['get']).plan;
    expect([...kubernetes().keys()]).toEqual([]);
    inForce = { ...inForce, mesh: { ...inForce.mesh, services: [] } };
    expect(services(['first'])).toEqual([]);
  });
});
