/** Secret with the broker's keys: created by an account that may only create Secrets, and changed by brokers. */
import { createPrivateKey } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Lab, upLab } from '@meshpass/lab';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { retryWhileUnavailable } from '../../src/base/clock/until-it-answers.ts';
import { signWithNextOnly } from '../../src/core/token/key-ring.ts';
import { openKeySecret } from '../../src/core/token/key-storage.ts';
import { claimKeys } from '../../src/core/token/rotation.ts';
import { openSigner, type RotatingSigner } from '../../src/core/token/signer.ts';
import { createKeysSecret } from '../../src/mesh/kubernetes/keys-secret.ts';

const NAMESPACE = 'keys-secret';
const SECRET = `/api/v1/namespaces/${NAMESPACE}/secrets/meshpass-keys`;

let lab: Lab;
let folder: string;
let kubeconfig: string;
beforeAll(async () => {
  lab = await upLab({ name: process.env.MESHPASS_LAB ?? 'mesh' });
  const of = (kind: string, apiVersion: string, more: object) => ({
    apiVersion,
    kind,
    metadata: { name: 'maker', namespace: NAMESPACE },
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
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'maker',
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

it('is made once, with a key that the broker accepts, and stays unchanged the next time', async () => {
  expect(await createKeysSecret({ ...secret, kubeconfig })).toBe(true);
  const made = await data();
  // The broker makes the key that signs tokens itself.
  expect(Object.keys(made)).toEqual(['audit-key.pem']);
  expect(createPrivateKey(made['audit-key.pem']!).asymmetricKeyType).toBe('ed25519');
  expect(await createKeysSecret({ ...secret, kubeconfig })).toBe(false);
  expect(await data()).toEqual(made);
});

it('has a token for break-glass only if that is requested when it is made', async () => {
  expect(await createKeysSecret({ ...secret, kubeconfig, withOperatorToken: true })).toBe(false);
  expect(Object.keys(await data())).not.toContain('operator-token');
  await lab.kubernetes.call('DELETE', SECRET);
  expect(await createKeysSecret({ ...secret, kubeconfig, withOperatorToken: true })).toBe(true);
  expect((await data())['operator-token']!.length).toBeGreaterThanOrEqual(43);
});

it('is not made without the right, with that error', async () => {
  await expect(createKeysSecret({ namespace: 'default', name: 'meshpass-keys', kubeconfig })).rejects.toMatchObject({
    code: 'kubernetes_unavailable',
    detail: { status: 403 },
  });
});

it('stores signing keys for several brokers: the one that was written last by another is not overwritten', async () => {
  const at = (name: string) => ({ ...secret, name, kubeconfig: lab.kubeconfig });
  await lab.kubernetes.apply({
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: 'shared', namespace: NAMESPACE },
    stringData: { 'audit-key.pem': 'another entry' },
  });
  await using opened = new AsyncDisposableStack();
  const [first, second] = await Promise.all([openKeySecret(at('shared')), openKeySecret(at('shared'))]);
  opened.defer(first.close);
  opened.defer(second.close);
  const entries = async () => {
    const { data } = (await lab.kubernetes.call('GET', SECRET.replace('meshpass-keys', 'shared'))) as Held;
    return Object.fromEntries(Object.entries(data).map(([key, value]) => [key, `${Buffer.from(value, 'base64')}`]));
  };
  // Both start at once on a Secret that has no signing key: one makes it, the other takes that.
  const patience = { onFailure: () => {} };
  const signers = await Promise.all(
    [first, second].map(({ storage }) => retryWhileUnavailable(() => openSigner(storage), patience)),
  );
  const [active, waiting] = signers as [RotatingSigner, RotatingSigner];
  expect(active.kid).toBe(waiting.kid);
  const claim = (signer: RotatingSigner) => claimKeys({ signer, tokenSeconds: 300, isLeader: () => true });
  await claim(active);
  const { ring } = active;
  await active.replace({ ...signWithNextOnly(ring, 1, 300), next: ring.next });
  // A person adds an entry: it stays, and the broker continues.
  await lab.kubernetes.call('PATCH', SECRET.replace('meshpass-keys', 'shared'), { stringData: { note: 'x' } }, MERGE);
  await active.replace({ ...active.ring, requestedAt: 2 });
  expect(await entries()).toMatchObject({ 'audit-key.pem': 'another entry', note: 'x' });
  expect((await entries())['signing-key.pem']).toMatch(/^Meshpass-Broker: .*\nMeshpass-Rotation-Requested-At: 2\n/);

  await claim(waiting);
  expect(waiting.kid).toBe(active.kid);
  const stored = await entries();
  // It does not know yet that another has taken over.
  await expect(active.replace({ ...active.ring, requestedAt: undefined })).rejects.toMatchObject({
    code: 'kubernetes_unavailable',
    message: expect.stringContaining('Another broker or a user changed signing-key.pem'),
  });
  expect(await entries()).toEqual(stored);
  await waiting.replace({ ...waiting.ring, requestedAt: undefined });

  await lab.kubernetes.call('DELETE', SECRET.replace('meshpass-keys', 'shared'));
  await expect(claim(waiting)).rejects.toMatchObject({ code: 'config_invalid' });
});

const MERGE = 'application/merge-patch+json';
interface Held {
  readonly data: Record<string, string>;
}
