/** `meshpass check` against a real cluster in which things are broken on purpose. */
import { kubeconfigAccess } from '@meshpass/broker/mesh/kubernetes/access';
import { createKubernetesHttp, type KubernetesHttp } from '@meshpass/broker/mesh/kubernetes/http';
import { checkAdmissionPolicies, checkGateway, checkKubernetes } from '@meshpass/cli/check/admission-and-gateway';
import type { CheckContext } from '@meshpass/cli/check/context';
import { checkRoots } from '@meshpass/cli/check/istiod';
import { checkBrokerPermissions } from '@meshpass/cli/check/rights';
import { runChecks } from '@meshpass/cli/check/run';
import { checkWorkloads } from '@meshpass/cli/check/workloads';
import { applyBrokerRights } from '@meshpass/lab/broker/rights';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type OnLab, onLab, untilReady } from '../../packages/broker/test/harness/on-lab.ts';
import { until } from '../mesh.ts';

const ACCESS = `
trust: {codespaces: {organization: acme}}
grants:
  check: {who: [{user: ann}], to: [{service: orders.shop, port: 8080}]}
`;
const RBAC = '/apis/rbac.authorization.k8s.io/v1';
const ADMISSION = '/apis/admissionregistration.k8s.io/v1';

let on: OnLab;
let http: KubernetesHttp;
let cluster: CheckContext;
beforeAll(async () => {
  on = await onLab(ACCESS);
  await untilReady(await on.connect());
  http = createKubernetesHttp(await kubeconfigAccess(on.lab.kubeconfig));
  cluster = {
    http,
    namespace: 'meshpass-system',
    rootNamespace: 'istio-system',
    istiod: 'istiod',
    gitops: false,
    now: Date.now,
    gateway: { namespace: 'meshpass-system', labels: { istio: 'meshpass-gateway' }, port: 15443 },
  };
});
beforeEach(() => applyBrokerRights(on.lab.kubernetes));
afterAll(async () => {
  http?.close();
  if (on) await applyBrokerRights(on.lab.kubernetes);
  await on?.end();
});

/** The API server's authorizer learns of changed roles and bindings a moment after they are answered. */
const rightsOnce = (ok: (found: Awaited<ReturnType<typeof checkBrokerPermissions>>) => boolean) =>
  until(() => checkBrokerPermissions(cluster), ok);
const remove = (path: string) => on.lab.kubernetes.call('DELETE', path);

describe('with the rights and policies of the chart', () => {
  it('nothing is wrong with them', async () => {
    expect(await checkKubernetes(cluster)).toMatchObject({ state: 'ok' });
    await rightsOnce(([first]) => first?.state === 'ok');
    expect(await checkAdmissionPolicies(cluster)).toMatchObject([{ state: 'ok' }]);
  });
});

describe('reports each fault, with a command that shows it and a command that fixes it', () => {
  it('a binding of the broker that is gone', async () => {
    await remove(`${RBAC}/namespaces/istio-system/rolebindings/meshpass-broker`);
    const findings = await rightsOnce((found) => found.length === 4);
    expect(findings.map(({ says }) => says)).toEqual([
      'The broker cannot create requestauthentications.security.istio.io in istio-system.',
      'The broker cannot patch requestauthentications.security.istio.io in istio-system.',
      'The broker cannot list configmaps istio-ca-root-cert in istio-system.',
      'The broker cannot watch configmaps istio-ca-root-cert in istio-system.',
    ]);
    expect(findings[0]).toMatchObject({
      state: 'failed',
      command: expect.stringContaining('helm upgrade meshpass'),
      seen: 'kubectl auth can-i create requestauthentications.security.istio.io -n istio-system --as system:serviceaccount:meshpass-system:meshpass-broker: no',
    });
  });

  it('a right that the broker must not have', async () => {
    const metadata = { name: 'meshpass-check-too-much' };
    await on.lab.kubernetes.apply({
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'ClusterRoleBinding',
      metadata,
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'cluster-admin' },
      subjects: [{ kind: 'ServiceAccount', name: 'meshpass-broker', namespace: 'meshpass-system' }],
    });
    try {
      const tooMuch = "The broker can get secrets, which exceeds the chart's RBAC rules.";
      await rightsOnce((found) => found.some(({ says }) => says === tooMuch));
    } finally {
      await remove(`${RBAC}/clusterrolebindings/${metadata.name}`);
    }
  });

  it('an admission policy that nothing binds, and one that is gone', async () => {
    await remove(`${ADMISSION}/validatingadmissionpolicybindings/meshpass-accounts`);
    await remove(`${ADMISSION}/validatingadmissionpolicies/meshpass-policies`);
    expect((await checkAdmissionPolicies(cluster)).map(({ says }) => says)).toEqual([
      expect.stringContaining('meshpass-accounts is not in effect: it has no binding.'),
      expect.stringContaining('meshpass-policies is not in effect: it does not exist.'),
    ]);
  });

  it('a missing mesh gateway, and one that lets everything through', async () => {
    const elsewhere = { ...cluster, gateway: { ...cluster.gateway, labels: { istio: 'nothing' } } };
    expect(await checkGateway(elsewhere)).toMatchObject([
      { state: 'failed', says: expect.stringContaining('istio=nothing') },
    ]);
    const wide = {
      apiVersion: 'networking.istio.io/v1',
      kind: 'Gateway',
      metadata: { name: 'too-wide', namespace: 'meshpass-system' },
      spec: {
        selector: { istio: 'meshpass-gateway' },
        servers: [
          {
            port: { number: 15443, name: 'tls', protocol: 'TLS' },
            tls: { mode: 'AUTO_PASSTHROUGH' },
            hosts: ['*.local'],
          },
        ],
      },
    };
    await on.lab.kubernetes.apply(wide);
    try {
      expect((await checkGateway(cluster)).map(({ says }) => says)).toContain(
        'Gateway meshpass-system/too-wide forwards to every host in the mesh, not only to granted hosts.',
      );
    } finally {
      await remove('/apis/networking.istio.io/v1/namespaces/meshpass-system/gateways/too-wide');
    }
  });

  it('workloads that are not installed, and roots that are soon over', async () => {
    expect(await checkWorkloads(cluster)).toMatchObject([
      { state: 'failed', says: 'Deployment meshpass-broker does not exist in meshpass-system.' },
      { state: 'failed' },
      { state: 'failed' },
    ]);
    expect(await checkRoots(cluster)).toMatchObject([{ state: 'ok' }]);
    const later = { ...cluster, now: () => Date.now() + 40 * 365 * 86_400_000 };
    expect(await checkRoots(later)).toMatchObject([{ state: 'failed', says: expect.stringContaining('expired on') }]);
  });
});

it('reports missing permissions, and a cluster that does not respond', async () => {
  const limited = createKubernetesHttp(await kubeconfigAccess(on.kubeconfig));
  try {
    const findings = await runChecks({ cluster: { ...cluster, http: limited } });
    expect(findings.find(({ check }) => check === 'rights')).toMatchObject({
      state: 'failed',
      says: 'This kubeconfig lacks the required permission. Use a different one.',
      seen: 'POST /apis/authorization.k8s.io/v1/subjectaccessreviews: 403',
    });
    expect(findings.filter(({ state }) => state === 'skipped').map(({ check }) => check)).toEqual([
      ...['broker', 'certificates', 'certificates', 'github'],
    ]);
  } finally {
    limited.close();
  }
  const nowhere = { call: () => Promise.reject(new Error('ECONNREFUSED')) };
  const silent = await runChecks({ cluster: { ...cluster, http: nowhere as never } });
  expect(silent[0]).toMatchObject({ check: 'kubernetes', state: 'failed' });
  expect(silent.find(({ check }) => check === 'rights')).toMatchObject({ state: 'skipped' });
});
