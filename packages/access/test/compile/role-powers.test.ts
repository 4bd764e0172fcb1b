/** ClusterRoles that a grant may bind: powers of their rules, and rules that are not understood. */
import type { Mesh, MeshClusterRole, RbacRule } from '@meshpass/istio';
import { describe, expect, it } from 'vitest';
import { checkKnownRoles, compile, parseAccess, powersOf } from '../../src/index.ts';
import { MESH, TOKENS } from '../shop.ts';

const rule = (apiGroups: string, resources: string, verbs: string): RbacRule => ({
  apiGroups: apiGroups.split(','),
  resources: resources.split(','),
  verbs: verbs.split(','),
});
const roleOf = (...rules: RbacRule[]): MeshClusterRole => ({ name: 'ours', rules });
const file = (kubernetes: string) =>
  parseAccess(
    `trust: {codespaces: {organization: acme}}
grants:
  dev:
    who: [{user: alice}]
    to: [{service: orders.shop, port: 8080}]
    kubernetes: {${kubernetes}}
`,
    'access.yaml',
  );
const bound = (kubernetes: string, clusterRoles: readonly MeshClusterRole[] = [], missing?: 'leave-out') =>
  compile(file(kubernetes), { ...MESH, clusterRoles } satisfies Mesh, TOKENS, missing ? { missing } : {})
    .filter(({ kind }) => kind === 'RoleBinding')
    .map(({ metadata }) => metadata.name);

describe('powersOf', () => {
  it.each([
    ['exec', rule('', 'pods/exec', 'create')],
    ['exec', rule('', 'pods/exec', 'get')],
    ['exec', rule('', 'pods/ephemeralcontainers', 'patch')],
    ['attach', rule('', 'pods,pods/attach', 'get')],
    ['port-forward', rule('', 'pods/portforward', 'create')],
    ['proxy', rule('', 'pods/proxy', 'get')],
    ['proxy', rule('', 'services/proxy', 'get')],
    ['secrets', rule('', 'secrets', 'get')],
    ['secrets', rule('', 'secrets', 'create')],
    ['secrets', rule('', 'secrets', 'delete')],
    ['secrets', rule('', 'secrets', 'deletecollection')],
    ['proxy', rule('', 'services/proxy', 'delete')],
    ['secrets', { ...rule('', 'secrets', 'get'), resourceNames: ['one'] }],
    ['token-requests', rule('', 'serviceaccounts/token', 'create')],
    ['impersonate', rule('', 'serviceaccounts', 'impersonate')],
    ['impersonate', rule('authentication.k8s.io', 'userextras', 'impersonate-on:user-info:list')],
    ['workloads', rule('apps', 'deployments', 'patch')],
    ['workloads', rule('', 'pods', 'create')],
    ['workloads', rule('batch', 'cronjobs', 'update')],
    ['rbac', rule('rbac.authorization.k8s.io', 'rolebindings', 'create')],
    ['rbac', rule('rbac.authorization.k8s.io', 'clusterroles', 'bind')],
    ['rbac', rule('rbac.authorization.k8s.io', 'roles', 'escalate')],
    ['workloads', rule('', 'pods/binding', 'create')],
    ['workloads', rule('apps', 'controllerrevisions', 'patch')],
    ['policies', rule('', 'namespaces', 'patch')],
    ['policies', rule('', 'namespaces', 'delete')],
    ['policies', rule('', 'services', 'update')],
    ['policies', rule('', 'endpoints', 'create')],
    ['policies', rule('', 'pods/status', 'patch')],
    ['policies', rule('discovery.k8s.io', 'endpointslices', 'patch')],
    ['policies', rule('cilium.io', 'ciliumnetworkpolicies', 'delete')],
    ['policies', rule('telemetry.istio.io', 'telemetries', 'create')],
    ['custom-resources', rule('argoproj.io', 'workflows', 'create')],
    ['custom-resources', rule('external-secrets.io', 'externalsecrets', 'delete')],
    ['custom-resources', rule('security.openshift.io', 'securitycontextconstraints', 'use')],
    ['custom-resources', rule('subresources.kubevirt.io', 'virtualmachineinstances/console', 'get')],
    ['custom-resources', rule('apps,acme.example', 'widgets', 'patch')],
    ['policies', rule('security.istio.io', 'authorizationpolicies', 'delete')],
    ['policies', rule('networking.istio.io', 'anything', 'create')],
    ['policies', rule('networking.k8s.io', 'networkpolicies', 'delete')],
    ['policies', rule('networking.k8s.io', 'ingresses/status', 'patch')],
    ['policies', rule('extensions', 'ingresses/status', 'update')],
  ])('finds %s', (power, one) => {
    expect([...powersOf(roleOf(one), []).powers]).toEqual([power]);
  });

  it.each([
    ['reads of Pods and logs', rule('', 'pods,pods/log,configmaps,services', 'get,list,watch')],
    ['the deletion of Pods', rule('', 'pods', 'delete')],
    ['writes of ConfigMaps', rule('', 'configmaps', 'create,update,patch,delete')],
    ['reads of Deployments and their scale', rule('apps', 'deployments,deployments/scale', 'get,list,watch')],
    ['Secrets of another group', rule('bitnami.com', 'secrets', 'get')],
    ['reads of what is not known', rule('argoproj.io', 'workflows,workflows/status', 'get,list,watch')],
    ['the deletion of Services', rule('', 'services,endpoints', 'delete')],
    [
      'disruption budgets, autoscalers and leases',
      rule('policy,autoscaling,coordination.k8s.io', 'any', 'create,delete'),
    ],
    ['reads of policies', rule('security.istio.io,networking.istio.io', 'gateways', 'get,list,watch')],
    ['paths that a RoleBinding does not give', { nonResourceURLs: ['*'], verbs: ['*'] }],
  ])('finds nothing in %s', (_, one) => {
    expect(powersOf(roleOf(one), [])).toEqual({ powers: new Set() });
  });

  it.each([
    ['every resource', rule('', '*', 'get'), ['exec', 'secrets', 'wildcards']],
    ['every verb', rule('', 'serviceaccounts', '*'), ['impersonate', 'wildcards']],
    ['every group', rule('*', 'secrets', 'get'), ['secrets', 'wildcards']],
    ['a subresource of everything', rule('', '*/exec', 'create'), ['exec', 'wildcards']],
    ['every group, for writing', rule('*', 'widgets', 'update'), ['custom-resources', 'policies', 'wildcards']],
    [
      'all of it',
      rule('*', '*', '*'),
      ['custom-resources', 'exec', 'impersonate', 'rbac', 'secrets', 'token-requests', 'wildcards'],
    ],
  ])('takes %s for all that it means', (_, one, powers) => {
    expect([...powersOf(roleOf(one), []).powers]).toEqual(expect.arrayContaining(powers));
  });

  it.each([
    ['rules that are no list', { name: 'ours', rules: {} as never }],
    ['a rule that is no object', roleOf('everything' as never)],
    ['verbs that are no list', roleOf({ ...rule('', 'pods', 'get'), verbs: '*' as never })],
    ['an unknown member', roleOf({ ...rule('', 'pods', 'get'), celSelector: 'true' } as RbacRule)],
    [
      'an aggregation by expressions',
      { name: 'ours', aggregationRule: { clusterRoleSelectors: [{ matchExpressions: [] }] } },
    ],
    [
      'an aggregation of roles that were not read',
      { name: 'ours', aggregationRule: { clusterRoleSelectors: [{ matchLabels: { a: 'b' } }] } },
    ],
    ['an aggregation without a form', { name: 'ours', aggregationRule: 'all' }],
  ])('does not understand %s', (_, role) => {
    expect(powersOf(role, [role]).unknown).toEqual(expect.any(String));
  });

  it('finds what an aggregated role has of others', () => {
    const aggregated = { name: 'ours', aggregationRule: { clusterRoleSelectors: [{ matchLabels: { to: 'ours' } }] } };
    const part = { ...roleOf(rule('', 'secrets', 'get')), name: 'part', labels: { to: 'ours' } };
    expect([...powersOf(aggregated, [aggregated, part]).powers]).toEqual(['secrets']);
  });
});

describe('a grant', () => {
  it('gets a role that only reads', () => {
    expect(bound('roles: [view@shop]')).toEqual(['meshpass-dev.view']);
    expect(bound('roles: [ours@shop]', [roleOf(rule('', 'pods', 'get'))])).toEqual(['meshpass-dev.ours']);
  });

  it('gets no role that allows more than it says, and is told what to write', () => {
    const role = roleOf(rule('', 'pods/exec,secrets', 'create'));
    expect(() => bound('roles: [ours@shop], allow: [attach]', [role])).toThrow(
      expect.objectContaining({
        code: 'access_role_powers',
        message: expect.stringMatching(
          /^access\.yaml:6:26 the ClusterRole ours allows exec .*secrets .*allow: \[attach, exec, secrets\]/,
        ),
      }),
    );
    expect(bound('roles: [ours@shop], allow: [exec, secrets]', [role])).toEqual(['meshpass-dev.ours']);
  });

  it('gets no role of which nothing is known', () => {
    expect(() => bound('roles: [viewer@shop]')).toThrow(
      expect.objectContaining({ code: 'access_role_unknown', message: expect.stringContaining('"view"') }),
    );
  });

  it('loses a role in force that gains more, and keeps the others', () => {
    const gained = roleOf(rule('', 'pods', 'get'), rule('', 'secrets', 'list'));
    expect(bound('roles: [ours@shop, view@shop]', [gained], 'leave-out')).toEqual(['meshpass-dev.view']);
  });

  it('loses `view` where somebody aggregates Secrets to it', () => {
    const label = 'rbac.authorization.k8s.io/aggregate-to-view';
    const view = {
      name: 'view',
      rules: [rule('', 'pods', 'get')],
      aggregationRule: { clusterRoleSelectors: [{ matchLabels: { [label]: 'true' } }] },
    };
    const added = { ...roleOf(rule('', 'secrets', 'get')), name: 'added', labels: { [label]: 'true' } };
    expect(bound('roles: [view@shop]', [view], 'leave-out')).toEqual(['meshpass-dev.view']);
    expect(bound('roles: [view@shop]', [view, added], 'leave-out')).toEqual([]);
  });

  it.each([
    ['a power that is none', 'roles: [view@shop], allow: [sudo]'],
    ['no power at all', 'roles: [view@shop], allow: []'],
    ['powers without roles', 'allow: [exec]'],
  ])('cannot say %s', (_, kubernetes) => {
    expect(() => file(kubernetes)).toThrow(expect.objectContaining({ code: 'access_file_invalid' }));
  });
});

describe('checkKnownRoles', () => {
  it('refuses roles that every cluster has and that allow more, without a cluster', () => {
    expect(() => checkKnownRoles(file('roles: [edit@shop]'))).toThrow(
      expect.objectContaining({ code: 'access_role_powers' }),
    );
    expect(() => checkKnownRoles(file('roles: [admin@shop], allow: [exec]'))).toThrow(/rbac/);
    checkKnownRoles(file('roles: [view@shop, ours@shop]'));
  });
});
