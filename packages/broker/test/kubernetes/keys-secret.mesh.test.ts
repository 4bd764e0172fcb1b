/** The Secret with the broker's keys, made by an account that may create Secrets and nothing else. */
import { createPrivateKey } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Lab, upLab } from '@meshpass/lab';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { createKeysSecret } from '../../src/kubernetes/keys-secret.ts';

const NAMESPACE = 'keys-secret';
const SECRET = `/api/v1/namespaces/${NAMESPACE}/secrets/meshpass-keys`;

let lab: Lab;
let folder: string;
let kubeconfig: string;
beforeAll(async () => {
  lab = await upLab({ name: process.env.MESHPASS_LAB ?? 'mesh' });
  const of = (kind: string, apiVersion: string, more: object) => ({
    ...{ apiVersion, kind, metadata: { name: 'maker', namespace: NAMESPACE } },
    ...more,
  });
  const rbac = 'rbac.authorization.k8s.io';
  await lab.kubernetes.apply({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: NAMESPACE } });
  await lab.kubernetes.apply(
    of('ServiceAccount', 'v1', {}),
    of('Role', `${rbac}/v1`, { rules: [{ apiGroups: [''], resources: ['secrets'], verbs: ['create'] }] }),
    of('RoleBinding', `${rbac}/v1`, {
      roleRef: { apiGroup: rbac, kind: 'Role', name: 'maker' },
      subjects: [{ kind: 'ServiceAccount', name: 'maker', namespace: NAMESPACE }],
    }),
  );
  const token = await lab.kubernetes.serviceAccountToken(NAMESPACE, 'maker', [], 3600);
  folder = await mkdtemp(join(tmpdir(), 'meshpass-keys-'));
  kubeconfig = join(folder, 'kubeconfig');
  const text = stringify({
    ...{ apiVersion: 'v1', kind: 'Config', 'current-context': 'maker' },
    clusters: [{ name: 'lab', cluster: { server: lab.kubernetes.url, 'certificate-authority': lab.testCa } }],
    users: [{ name: 'maker', user: { token } }],
    contexts: [{ name: 'maker', context: { cluster: 'lab', user: 'maker' } }],
  });
  await writeFile(kubeconfig, text, { mode: 0o600 });
});
afterAll(async () => {
  await lab?.kubernetes.call('DELETE', `/api/v1/namespaces/${NAMESPACE}`);
  await rm(folder, { recursive: true, force: true });
  await lab?.down();
});

const secret = { namespace: NAMESPACE, name: 'meshpass-keys' };
const data = async () => {
  const { data } = (await lab.kubernetes.call('GET', SECRET)) as { data: Record<string, string> };
  return Object.fromEntries(Object.entries(data).map(([key, value]) => [key, Buffer.from(value, 'base64').toString()]));
};

it('is made with keys that the broker takes, once: the next time it stays as it is', async () => {
  expect(await createKeysSecret({ ...secret, kubeconfig })).toBe(true);
  const made = await data();
  expect(Object.keys(made).sort()).toEqual(['audit-key.pem', 'signing-key.pem']);
  const rsa = createPrivateKey(made['signing-key.pem']!);
  expect([rsa.asymmetricKeyType, rsa.asymmetricKeyDetails?.modulusLength]).toEqual(['rsa', 2048]);
  expect(createPrivateKey(made['audit-key.pem']!).asymmetricKeyType).toBe('ed25519');
  expect(await createKeysSecret({ ...secret, kubeconfig })).toBe(false);
  expect(await data()).toEqual(made);
});

it('has a token for break-glass where that is wanted, and not later', async () => {
  expect(await createKeysSecret({ ...secret, kubeconfig, withOperatorToken: true })).toBe(false);
  expect(Object.keys(await data())).not.toContain('operator-token');
  await lab.kubernetes.call('DELETE', SECRET);
  expect(await createKeysSecret({ ...secret, kubeconfig, withOperatorToken: true })).toBe(true);
  expect((await data())['operator-token']!.length).toBeGreaterThanOrEqual(43);
});

it('is not made where the right is missing, and says so', async () => {
  await expect(createKeysSecret({ namespace: 'default', name: 'meshpass-keys', kubeconfig })).rejects.toMatchObject({
    code: 'kubernetes_unavailable',
    detail: { status: 403 },
  });
});
