/** ConfigMap of the chart's audit-checkpoint.yaml on a real API server: the broker moves it forward, and no client sets it back. */
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { MeshpassError } from '@meshpass/identity';
import { connectKubernetes } from '@meshpass/lab/kubernetes';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { openConfigMapSink } from '../../src/audit/checkpoint/config-map-sink.ts';
import type { CheckpointSink } from '../../src/audit/checkpoint/sink.ts';
import { kubeconfigAccess } from '../../src/mesh/kubernetes/access.ts';
import { createKubernetesHttp, type KubernetesHttp } from '../../src/mesh/kubernetes/http.ts';
import { applyFile, type OnLab, onLab } from '../harness/on-lab.ts';

const PATH = '/api/v1/namespaces/meshpass-system/configmaps/meshpass-audit-checkpoint';
const COLLECTION = '/api/v1/namespaces/meshpass-system/configmaps';
const NAMES = { namespace: 'meshpass-system', name: 'meshpass-audit-checkpoint' };
const MERGE = 'application/merge-patch+json';
const EMPTY = { apiVersion: 'v1', kind: 'ConfigMap', metadata: NAMES };
const OWNER = { apiVersion: 'v1', kind: 'ConfigMap', name: 'not-there', uid: '00000000-0000-0000-0000-000000000001' };
const NOTHING = `
trust:
  codespaces: {organization: acme}
grants:
  nobody:
    who: [{user: ann}]
    to: [{service: orders.shop, port: 8080}]
`;

let on: OnLab;
let opened: { readonly sink: CheckpointSink; readonly close: () => void };
let another: typeof opened;
let broker: KubernetesHttp;
beforeAll(async () => {
  on = await onLab(NOTHING);
  broker = createKubernetesHttp(await kubeconfigAccess(on.kubeconfig));
});
beforeEach(async () => {
  await on.lab.kubernetes.call('DELETE', PATH).catch(() => undefined);
  await applyFile(on.lab, 'audit-checkpoint.yaml');
  opened = await openConfigMapSink({ kubeconfig: on.kubeconfig, ...NAMES });
  another = await openConfigMapSink({ kubeconfig: on.kubeconfig, ...NAMES });
  // A policy takes effect a moment after its creation.
  await expect
    .poll(() => asAdmin('PATCH', `${PATH}?dryRun=All`, { data: { x: 'y' } }))
    .toContain('only the broker writes the checkpoint');
});
afterEach(() => {
  opened?.close();
  another?.close();
});
afterAll(async () => {
  broker?.close();
  await on?.lab.kubernetes.call('DELETE', PATH).catch(() => undefined);
  await on?.end();
});

/** @returns status and message of the API server; 200 if it accepts the request */
async function asAdmin(method: string, path: string, body?: unknown): Promise<string> {
  const type = method === 'PATCH' ? [MERGE] : [];
  return on.lab.kubernetes.call(method as 'PATCH', path, body, ...type).then(
    () => '200',
    (thrown: Error) => thrown.message,
  );
}
async function asBroker(method: 'GET' | 'POST' | 'PATCH' | 'DELETE', path: string, body?: unknown): Promise<string> {
  const type = method === 'PATCH' ? { contentType: MERGE } : {};
  return broker.call({ method, path, body, ...type }).then(
    () => '200',
    ({ detail }: MeshpassError) => `${detail.status} ${detail.message}`,
  );
}
const said = (writing: Promise<void>) =>
  writing.then(
    () => 'kept',
    (thrown: MeshpassError) => `${thrown.code} ${thrown.detail.message ?? thrown.message}`,
  );
const kept = async () => (await opened.sink.read())?.note.split('\n')[3];
/** Note in the format of a checkpoint; Kubernetes does not verify the signature. @param name distinguishes notes */
function note(name: string, { epoch, size }: { epoch: number; size: number }): string {
  const origin = `broker.test:8443/audit${epoch === 1 ? '' : `/${epoch}`}`;
  return [origin, size, Buffer.alloc(32).toString('base64'), name].map((line) => `${line}\n`).join('');
}
const write = (to: typeof opened, name: string, mark: { epoch: number; size: number }) =>
  to.sink.write(note(name, mark), mark);
const rehearse = (name: string, mark: { epoch: number; size: number }) => opened.sink.rehearse!(note(name, mark), mark);

describe('the checkpoint in a ConfigMap', () => {
  it('is none at first, and then the last that the broker wrote', async () => {
    expect(await kept()).toBeUndefined();
    await write(opened, 'origin', { epoch: 1, size: 0 });
    await write(opened, 'one', { epoch: 1, size: 5 });
    await write(opened, 'two', { epoch: 1, size: 9 });
    expect(await kept()).toBe('two');
    // The next broker continues from it, and the previous one is refused when it comes too late.
    await write(another, 'three', { epoch: 1, size: 12 });
    expect(await said(write(opened, 'late', { epoch: 1, size: 10 }))).toMatch(
      /store_unavailable A newer audit log checkpoint/,
    );
    await write(opened, 'four', { epoch: 1, size: 13 });
    expect(await kept()).toBe('four');
  });

  it('is not set back by the broker itself, nor replaced by another of the same size', async () => {
    await write(opened, 'one', { epoch: 1, size: 9 });
    const forge = (data: Record<string, string>, metadata: object = {}) => asBroker('PATCH', PATH, { data, metadata });
    const one = { epoch: '1', size: '9', note: note('one', { epoch: 1, size: 9 }) };
    const next = (size: number) => ({ size: `${size}`, note: note('next', { epoch: 1, size }) });
    expect(await forge({ ...one, time: new Date().toISOString() })).toBe('200');
    expect(await asBroker('PATCH', `${PATH}?dryRun=All`, { data: next(10) })).toBe('200');
    const later = 'a checkpoint is replaced by a later one only';
    for (const [data, why] of [
      [{ size: '8' }, later],
      [{ size: '0' }, later],
      [{ note: note('other', { epoch: 1, size: 9 }) }, later],
      [{ size: '10', epoch: '0' }, 'has an epoch'],
      [{ size: '-1' }, 'has an epoch'],
      [{ size: '1e9' }, 'has an epoch'],
      [{ size: '10', epoch: '2' }, 'an epoch begins only where'],
      [{ size: null }, 'has an epoch'],
      [{ note: null }, 'has an epoch'],
      [next(9_999_999_999_999), 'has an epoch'],
      [{ ...next(10), time: 'now' }, 'has an epoch'],
      [{ ...next(10), other: 'x' }, 'has an epoch'],
      [{ size: '10', note: next(10).note.padEnd(4_097, 'x') }, 'has an epoch'],
      // Note of an earlier broker, over fewer rows than stated beside it.
      [{ size: '10', note: note('early', { epoch: 1, size: 3 }) }, 'is about the epoch and the size'],
      [{ size: '10', note: note('other log', { epoch: 2, size: 10 }) }, 'is about the epoch and the size'],
      [{ size: '10', note: 'rows' }, 'is about the epoch and the size'],
    ] as [Record<string, string>, string][])
      expect(await forge(data), JSON.stringify(data)).toContain(why);
    const annotations = { 'meshpass.dev/accept-restore': '2' };
    const metadata = [{ annotations }, { labels: { a: 'b' } }, { finalizers: ['meshpass.dev/never'] }];
    for (const more of metadata) expect(await forge(next(10), more)).toContain('nor change other metadata');
    for (const body of [{ metadata: { ownerReferences: [OWNER] } }, { immutable: true }, { binaryData: { x: 'AAAA' } }])
      expect(await asBroker('PATCH', PATH, body)).toContain('has no owner');
    expect(await asBroker('PATCH', PATH, { data: null })).toContain('has an epoch');
    expect(await asBroker('DELETE', PATH)).toMatch(/^403 /);
    expect(await asBroker('POST', COLLECTION, { ...EMPTY, metadata: { ...NAMES, name: 'another' } })).toMatch(/^403 /);
    expect(await asBroker('GET', COLLECTION)).toMatch(/^403 /);
    expect(await kept()).toBe('one');
  });

  it('is not written by other accounts, nor recreated with an old one; a deleted one differs from none', async () => {
    await write(opened, 'one', { epoch: 1, size: 9 });
    const data = { epoch: '1', size: '3', note: note('old', { epoch: 1, size: 3 }) };
    for (const more of [{ metadata: { ownerReferences: [OWNER] } }, { immutable: true }, { binaryData: { x: 'AAAA' } }])
      expect(await asAdmin('PATCH', PATH, more)).toContain('has no owner');
    expect(await asAdmin('PATCH', PATH, { data })).toContain('only the broker writes');
    expect(await asAdmin('PATCH', PATH, { data: null })).toContain('only the broker writes');
    expect(await asAdmin('PATCH', PATH, { metadata: { labels: { team: 'platform' } } })).toBe('200');
    expect(await asAdmin('DELETE', PATH)).toBe('200');
    await expect(opened.sink.read()).rejects.toMatchObject({ code: 'config_invalid' });
    expect(await asAdmin('POST', COLLECTION, { ...EMPTY, data })).toContain('it is made empty');
    expect(await asAdmin('POST', COLLECTION, EMPTY)).toBe('200');
    expect(await kept()).toBeUndefined();
  });

  it('is deleted only by accounts that could delete its policy', async () => {
    const { kubernetes } = on.lab;
    const name = 'checkpoint-test-editor';
    const subjects = [{ kind: 'ServiceAccount', name, namespace: NAMES.namespace }];
    const roleRef = { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'edit' };
    const metadata = { name, namespace: NAMES.namespace };
    const made = [
      { apiVersion: 'v1', kind: 'ServiceAccount', metadata },
      { apiVersion: 'rbac.authorization.k8s.io/v1', kind: 'RoleBinding', metadata, roleRef, subjects },
    ];
    await kubernetes.apply(...made);
    try {
      const token = join(on.lab.dir, `${name}.token`);
      await writeFile(token, await kubernetes.serviceAccountToken(NAMES.namespace, name, [], 600), { mode: 0o600 });
      const editor = connectKubernetes(kubernetes.url, token, on.lab.testCa);
      await rm(token);
      const deleted = (path: string) =>
        editor.call('DELETE', path).then(
          () => '200',
          (thrown: Error) => thrown.message,
        );
      const refused = 'only who may delete this policy deletes the checkpoint';
      for (const path of [PATH, COLLECTION]) await expect.poll(() => deleted(`${path}?dryRun=All`)).toContain(refused);
      expect(await deleted(PATH)).toContain(refused);
      // A note without a name yet counts as another one.
      const other = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { generateName: 'meshpass-' } };
      expect(await asAdmin('POST', `${COLLECTION}?dryRun=All`, other)).toBe('200');
      expect(await kept()).toBeUndefined();
    } finally {
      await kubernetes.remove(...made);
    }
  });

  it('begins an epoch only if an annotation that the broker cannot make allows it', async () => {
    await write(opened, 'one', { epoch: 1, size: 9 });
    const next = { epoch: 2, size: 4 };
    expect(await said(rehearse('two', next))).toMatch(/audit_checkpoint_invalid .*accept-restore names it/);
    const consent = (epoch: string) => ({ metadata: { annotations: { 'meshpass.dev/accept-restore': epoch } } });
    expect(await asAdmin('PATCH', PATH, consent('3'))).toBe('200');
    expect(await said(write(opened, 'two', next))).toContain('accept-restore names it');
    expect(await asAdmin('PATCH', PATH, consent('2'))).toBe('200');
    expect(await said(rehearse('two', next))).toBe('kept');
    expect(await kept()).toBe('one');
    await write(opened, 'two', next);
    expect(await kept()).toBe('two');
    expect(await said(write(another, 'old', { epoch: 1, size: 99 }))).toMatch(/A newer audit log checkpoint/);
  });
});
