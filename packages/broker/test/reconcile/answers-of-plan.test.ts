/** Answers to sessions, computed once per plan. */
import { meshOf, parseAccess } from '@meshpass/access';
import { loadManifests } from '@meshpass/istio';
import { describe, expect, it } from 'vitest';
import { computeGrantReach } from '../../src/mesh/reconcile/make-plan.ts';

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

function answers(verbs: readonly string[], of = orders) {
  const clusterRoles = [{ name: 'view', rules: [{ apiGroups: [''], resources: ['pods', 'secrets'], verbs }] }];
  const mesh = meshOf(loadManifests(of, 'cluster.yaml').resources, {
    trustDomain: 'cluster.local',
    rootNamespace: 'istio-system',
    clusterDomain: 'cluster.local',
    gateway: { namespace: 'meshpass-system', labels: { istio: 'meshpass-gateway' }, port: 15443 },
  });
  return computeGrantReach(access, { ...mesh, clusterRoles });
}

describe('answersOf', () => {
  it('lists the services and roles of every grant', () => {
    const { services, kubernetes } = answers([]);
    expect([...services.keys()]).toEqual(['first', 'second']);
    expect([...kubernetes]).toEqual([
      ['first', ['shop']],
      ['second', ['audit', 'shop']],
    ]);
  });

  it('lists no role that allows too much, and no service that does not exist', () => {
    expect([...answers(['get']).kubernetes.keys()]).toEqual([]);
    expect(answers([], '').services.size).toBe(0);
  });
});
