/** The label of the active broker's Pod, written with the rights and under the admission policies of the chart. */

import { readFile } from 'node:fs/promises';
import { type Lab, upLab } from '@meshpass/lab';
import { applyBrokerRights } from '@meshpass/lab/broker/rights';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { createActiveLabel } from '../../src/mesh/kubernetes/active-label.ts';
import { createKubernetesHttp, type KubernetesHttp } from '../../src/mesh/kubernetes/http.ts';

const NAMESPACE = 'meshpass-system';
const PODS = `/api/v1/namespaces/${NAMESPACE}/pods`;

let lab: Lab;
let own: KubernetesHttp;
let nobodys: KubernetesHttp;
beforeAll(async () => {
  lab = await upLab({ name: process.env.MESHPASS_LAB ?? 'mesh' });
  await applyBrokerRights(lab.kubernetes);
  const made = await Promise.all(['label-a', 'label-b'].map(create));
  const account = `/api/v1/namespaces/${NAMESPACE}/serviceaccounts/meshpass-broker/token`;
  const boundObjectRef = { apiVersion: 'v1', kind: 'Pod', name: 'label-a', uid: made[0] };
  const { status } = (await lab.kubernetes.call('POST', account, {
    apiVersion: 'authentication.k8s.io/v1',
    kind: 'TokenRequest',
    spec: { audiences: [], expirationSeconds: 3600, boundObjectRef },
  })) as { status: { token: string } };
  own = await as(status.token);
  // Kubernetes takes a moment until a new policy is in force.
  await vi.waitFor(() => expect(patch(own, 'label-b', { metadata: { labels: { x: 'y' } } })).rejects.toThrow(), {
    timeout: 60_000,
  });
  await lab.kubernetes.call(
    'PATCH',
    `${PODS}/label-b`,
    { metadata: { labels: { x: null } } },
    'application/merge-patch+json',
  );
  nobodys = await as(await lab.kubernetes.serviceAccountToken(NAMESPACE, 'meshpass-broker', [], 3600));
});
afterAll(async () => {
  for (const http of [own, nobodys]) http?.close();
  for (const name of ['label-a', 'label-b'])
    await lab?.kubernetes.call('DELETE', `${PODS}/${name}?gracePeriodSeconds=0`);
  await lab?.down();
});

async function create(name: string): Promise<string> {
  const { metadata } = (await lab.kubernetes.call('POST', PODS, {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, labels: { app: 'broker' } },
    spec: {
      serviceAccountName: 'meshpass-broker',
      automountServiceAccountToken: false,
      containers: [{ name: 'broker', image: 'meshpass' }],
    },
  })) as { metadata: { uid: string } };
  return metadata.uid;
}

async function as(token: string): Promise<KubernetesHttp> {
  const ca = await readFile(lab.testCa);
  return createKubernetesHttp({
    server: lab.kubernetes.url,
    tls: { ca },
    authorization: async () => `Bearer ${token}`,
  });
}

const labels = async (name: string) =>
  ((await lab.kubernetes.call('GET', `${PODS}/${name}`)) as { metadata: { labels: object } }).metadata.labels;

const patch = (http: KubernetesHttp, pod: string, body: object) =>
  http.call({ method: 'PATCH', path: `${PODS}/${pod}`, body, contentType: 'application/merge-patch+json' });

it('labels its own Pod as the active one or not, in the order of the calls', async () => {
  const label = createActiveLabel({ http: own, namespace: NAMESPACE, pod: 'label-a', onFailure: () => {} });
  label.set(false);
  await vi.waitFor(
    async () => expect(await labels('label-a')).toEqual({ app: 'broker', 'meshpass.dev/active': 'false' }),
    { timeout: 60_000 },
  );
  label.set(true);
  await vi.waitFor(
    async () => expect(await labels('label-a')).toEqual({ app: 'broker', 'meshpass.dev/active': 'true' }),
    { timeout: 60_000 },
  );
  label.close();
});

it('is retried until Kubernetes accepts it, or it is no longer wanted', async () => {
  const failures: unknown[] = [];
  const onFailure = (cause: unknown) => void failures.push(cause);
  const label = createActiveLabel({ http: own, namespace: NAMESPACE, pod: 'label-b', onFailure });
  label.set(true);
  await vi.waitFor(() => expect(failures.length).toBeGreaterThan(1), { timeout: 60_000 });
  label.close();
  expect(await labels('label-b')).toEqual({ app: 'broker' });
});

const ACTIVE = { metadata: { labels: { 'meshpass.dev/active': 'true' } } };
describe('with the rights to it, the broker cannot', () => {
  it.each([
    ['label another Pod', () => patch(own, 'label-b', ACTIVE), 'only the Pod that it runs in'],
    [
      'label a Pod with a token that no Pod was given',
      () => patch(nobodys, 'label-a', ACTIVE),
      'only the Pod that it runs in',
    ],
    [
      'have its Pod selected by others',
      () => patch(own, 'label-a', { metadata: { labels: { app: 'edge' } } }),
      'only the label meshpass.dev/active',
    ],
    ['add another label', () => patch(own, 'label-a', { metadata: { labels: { x: 'y' } } }), 'only the label'],
    [
      'annotate its Pod',
      () => patch(own, 'label-a', { metadata: { annotations: { x: 'y' } } }),
      'nothing of its Pod but a label',
    ],
    [
      'run another image',
      () => patch(own, 'label-a', { spec: { containers: [{ name: 'broker', image: 'evil' }] } }),
      'nothing of its Pod but a label',
    ],
    ['delete its Pod', () => own.call({ method: 'DELETE', path: `${PODS}/label-a` }), 'cannot delete resource'],
  ])('%s', async (_what, attempt, message) => {
    await expect(attempt()).rejects.toMatchObject({ detail: { message: expect.stringContaining(message) } });
  });
});
