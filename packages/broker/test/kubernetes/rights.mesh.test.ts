import type { MeshpassError } from '@meshpass/identity';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { kubeconfigAccess } from '../../src/mesh/kubernetes/access.ts';
import { createKubernetesHttp, type KubernetesHttp } from '../../src/mesh/kubernetes/http.ts';
import { type OnLab, onLab, untilReady } from '../harness/on-lab.ts';

const ACCESS = `
trust:
  codespaces: {organization: acme}
grants:
  rights:
    who: [{user: ann}]
    to: [{service: orders.shop, port: 8080}]
`;

let on: OnLab;
let broker: KubernetesHttp;

beforeAll(async () => {
  on = await onLab(ACCESS);
  await untilReady(await on.connect());
  broker = createKubernetesHttp(await kubeconfigAccess(on.kubeconfig));
  const foreign = {
    apiVersion: 'security.istio.io/v1',
    kind: 'AuthorizationPolicy',
    metadata: { name: 'theirs', namespace: 'dev' },
    spec: {},
  };
  await on.lab.kubernetes.apply(foreign, {
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: { name: 'meshpass-theirs' },
  });
});
afterAll(async () => {
  broker?.close();
  await on?.lab.kubernetes.call('DELETE', '/apis/security.istio.io/v1/namespaces/dev/authorizationpolicies/theirs');
  await on?.lab.kubernetes.call('DELETE', '/api/v1/namespaces/meshpass-theirs');
  await on?.end();
});

/** Status and message of the API server's refusal; 200 if it does not refuse. */
async function answer(method: 'GET' | 'POST' | 'PATCH' | 'DELETE', path: string, body?: unknown): Promise<string> {
  const apply =
    method === 'PATCH'
      ? { contentType: 'application/apply-patch+yaml', query: { fieldManager: 'meshpass', force: 'true' } }
      : {};
  return broker.call({ method, path, body, ...apply }).then(
    () => '200',
    ({ detail }: MeshpassError) => `${detail.status} ${detail.message}`,
  );
}

const pod = {
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'x' },
  spec: { containers: [{ name: 'x', image: 'x' }] },
};
const account = { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'x' } };
const token = { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: { audiences: ['istio-ca'] } };
const labels = { 'app.kubernetes.io/managed-by': 'meshpass' };
const binding = (namespace: string, subjects: unknown[], role = 'view') => ({
  apiVersion: 'rbac.authorization.k8s.io/v1',
  kind: 'RoleBinding',
  metadata: { name: 'x', namespace, labels },
  roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: role },
  subjects,
});
const group = (namespace: string) => ({
  apiGroup: 'rbac.authorization.k8s.io',
  kind: 'Group',
  name: `system:serviceaccounts:${namespace}`,
});

describe('with its own identity, the broker cannot', () => {
  it.each([
    ['read Secrets', 'GET', '/api/v1/namespaces/istio-system/secrets'],
    ['read the CA key of the mesh', 'GET', '/api/v1/namespaces/istio-system/secrets/istio-ca-secret'],
    ['read other ConfigMaps', 'GET', '/api/v1/namespaces/istio-system/configmaps'],
    ['create Pods', 'POST', '/api/v1/namespaces/meshpass-rights/pods', pod],
    ['run commands in Pods', 'POST', '/api/v1/namespaces/shop/pods/orders/exec'],
    ['make itself admin', 'POST', '/apis/rbac.authorization.k8s.io/v1/clusterrolebindings', {}],
    ['widen its own role', 'PATCH', '/apis/rbac.authorization.k8s.io/v1/clusterroles/meshpass-broker', {}],
    [
      'loosen the policies that bind it',
      'DELETE',
      '/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/meshpass-accounts',
    ],
    ['open a gateway elsewhere', 'POST', '/apis/networking.istio.io/v1/namespaces/shop/gateways', {}],
    ['route traffic', 'POST', '/apis/networking.istio.io/v1/namespaces/shop/virtualservices', {}],
  ] as const)('%s', async (_, method, path, body?: unknown) => {
    expect(await answer(method, path, body)).toMatch(/^403 .*is forbidden|cannot/);
  });

  it.each(['shop', 'kube-system', 'meshpass-system'])('have a token for a workload of %s', async (namespace) => {
    const path = `/api/v1/namespaces/${namespace}/serviceaccounts`;
    expect(await answer('POST', `${path}/default/token`, token)).toMatch(/^4.. .*no business with ServiceAccounts/);
    expect(await answer('POST', path, account)).toMatch(/^4.. .*no business with ServiceAccounts/);
    expect(await answer('DELETE', `${path}/default`)).toMatch(/^4.. .*no business with ServiceAccounts/);
  });

  it('take or remove a namespace that it did not make', async () => {
    expect(await answer('DELETE', '/api/v1/namespaces/shop')).toMatch(/only namespaces meshpass-GRANT/);
    expect(await answer('DELETE', '/api/v1/namespaces/meshpass-system')).toMatch(/only namespaces meshpass-GRANT/);
    expect(await answer('DELETE', '/api/v1/namespaces/meshpass-theirs')).toMatch(/only namespaces that it made/);
    const taken = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'meshpass-theirs', labels } };
    expect(await answer('PATCH', '/api/v1/namespaces/meshpass-theirs', taken)).toMatch(/only namespaces that it made/);
  });

  it('bind a role to anyone but the ServiceAccounts of a grant, nor a role that is not listed', async () => {
    const path = '/apis/rbac.authorization.k8s.io/v1/namespaces/shop/rolebindings/x';
    const broker = { kind: 'ServiceAccount', name: 'meshpass-broker', namespace: 'meshpass-system' };
    const refused = /binds roles only to the ServiceAccounts of its grants/;
    for (const subject of [
      broker,
      group('meshpass-system'),
      group('shop'),
      { ...group('x'), kind: 'User', name: 'system:serviceaccounts:meshpass-x' },
    ]) {
      expect(await answer('PATCH', path, binding('shop', [subject]))).toMatch(refused);
      expect(await answer('PATCH', path, binding('shop', [group('meshpass-rights'), subject]))).toMatch(refused);
    }
    expect(await answer('PATCH', path, binding('shop', [group('meshpass-rights')], 'edit'))).toMatch(/^403 /);
  });

  it('touch a foreign policy', async () => {
    const path = '/apis/security.istio.io/v1/namespaces/dev/authorizationpolicies/theirs';
    const ours = {
      apiVersion: 'security.istio.io/v1',
      kind: 'AuthorizationPolicy',
      metadata: { name: 'theirs', namespace: 'dev', labels },
      spec: {},
    };
    expect(await answer('DELETE', path)).toMatch(/only policies, gateways, Sidecars and bindings of its own/);
    expect(await answer('PATCH', path, ours)).toMatch(/only policies, gateways, Sidecars and bindings of its own/);
  });
});
