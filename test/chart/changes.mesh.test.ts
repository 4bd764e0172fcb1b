/**
 * Each value of the chart is changed on an existing installation, and set back: on a real API server, with nothing deleted by hand.
 * The chart refuses changes that Kubernetes forbids before that, with the alternative.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { type Lab, upLab } from '@meshpass/lab';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { type ValueSchema, valuesSchema } from '../../deploy/reference/chart-values.ts';
import { type ApiServer, apiServerOf } from './api-server.ts';
import { BUILD_MS, CHART, FIRST_INSTALL, find, helm, type Rendered, render } from './helm.ts';

const NAMESPACE = 'chart-changes';
const DATABASE = { database: { secret: 'postgres' } };
const RESOURCES = { requests: { cpu: '2', memory: '1Gi' } };
const PEER = [{ ipBlock: { cidr: '10.1.0.0/16' } }];

/**
 * A value other than the default for each key, with the values that it needs beside it, in the installation before and after. The schema is
 * enough for numbers, switches and choices.
 */
const CHANGES: Readonly<Record<string, readonly [value: unknown, beside?: object]>> = {
  'broker.host': ['other.example.com'],
  'broker.replicas': [3, DATABASE],
  'broker.service.annotations': [{ 'example.com/kind': 'internal' }],
  'broker.resources': [RESOURCES],
  'broker.extraArgs': [['--lease=60']],
  'edge.host': ['other-edge.example.com'],
  'edge.service.annotations': [{ 'example.com/kind': 'internal' }],
  'edge.resources': [RESOURCES],
  'edge.extraArgs': [['--stale=60']],
  'gateway.revision': ['1-28'],
  'gateway.resources': [RESOURCES],
  'certificates.issuer.name': [''],
  'certificates.issuer.kind': ['Issuer'],
  'certificates.issuer.group': ['issuers.example.com'],
  'certificates.brokerSecret': ['other-tls'],
  'certificates.edgeSecret': ['other-tls'],
  'certificates.trust.configMap': ['company-ca'],
  'certificates.trust.key': ['root.pem', { certificates: { trust: { configMap: 'company-ca' } } }],
  'access.content': ['grants: {a: {who: [{user: ann}], to: [{service: web.dev, port: 80}]}}\n'],
  'access.configMap': ['access-file', { admission: { services: ['orders.shop'] } }],
  'admission.services': [['*.shop']],
  'admission.roles': [['view', 'edit']],
  'github.appId': ['77'],
  'github.secret': ['other-app'],
  'github.api': ['https://github.example.com/api/v3'],
  'database.secret': ['postgres'],
  'database.port': [6432, DATABASE],
  'keys.secret': ['vault-keys'],
  'mesh.rootNamespace': ['mesh'],
  'mesh.trustDomain': ['example.com'],
  'mesh.clusterDomain': ['cluster.example'],
  'mesh.istiod': ['istiod-1-28'],
  'kubernetes.address': ['api.example.com:6443', { kubernetes: { enabled: true } }],
  'kubernetes.audience': ['https://api.example.com', { kubernetes: { enabled: true } }],
  'approvals.webhookSecret': ['approval-webhooks'],
  'approvals.pageUrl': ['https://approvals.example.com'],
  'approvals.pageFrom': [PEER, { approvals: { pageUrl: 'https://approvals.example.com' } }],
  'networkPolicies.podCidrs': [['10.0.0.0/8']],
  'networkPolicies.egressPorts': [[443]],
  'networkPolicies.dns': [PEER],
  'networkPolicies.metrics': [PEER],
  'monitoring.labels': [{ release: 'prometheus' }, { monitoring: { dashboards: true } }],
  'image.repository': ['registry.example.com/meshpass'],
  'image.tag': ['9.9.9'],
  'image.digest': [`sha256:${'1'.repeat(64)}`],
  'image.pullSecrets': [[{ name: 'registry' }]],
  nodeSelector: [{ 'kubernetes.io/os': 'linux' }],
  tolerations: [[{ key: 'mesh', operator: 'Exists' }]],
  priorityClassName: ['mesh'],
};
/** The last describe() is about these. */
const FORBIDDEN = ['database.embedded.size', 'database.embedded.storageClass'];

let lab: Lab;
let api: ApiServer;
beforeAll(async () => {
  lab = await upLab({ name: process.env.MESHPASS_LAB ?? 'mesh' });
  api = apiServerOf(lab);
  await lab.kubernetes.apply({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: NAMESPACE } });
}, BUILD_MS);
afterAll(async () => {
  for (const name of ['chart-fixed', 'chart-grows'])
    await lab?.kubernetes.call('DELETE', `/apis/storage.k8s.io/v1/storageclasses/${name}`).catch(() => {});
  await lab?.kubernetes.call('DELETE', `/api/v1/namespaces/${NAMESPACE}`);
  await lab?.down();
});

const renderings = new Map<string, Promise<Rendered[]>>();
const rendered = (values: object): Promise<Rendered[]> => {
  const key = JSON.stringify(values);
  const rendering = renderings.get(key) ?? render(FIRST_INSTALL, values, ['--namespace', NAMESPACE]);
  renderings.set(key, rendering);
  return rendering;
};
/** Hooks are deleted before they are made again, and what is of the whole cluster belongs to others of this lab. */
const installed = async (objects: readonly Rendered[]) => {
  const mine = objects.filter(
    ({ metadata }) => metadata.namespace === NAMESPACE && !metadata.annotations?.['helm.sh/hook'],
  );
  const known = await Promise.all(mine.map((object) => api.knows(object)));
  return mine.filter((_, index) => known[index]);
};
/** Members of one object that the other lacks or has with another value. */
const without = (some: readonly Rendered[], others: readonly Rendered[]) =>
  some.filter((object) => !others.some((other) => isDeepStrictEqual(object, other)));

function nested(path: string, value: unknown): object {
  return path.split('.').reduceRight<unknown>((inner, name) => ({ [name]: inner }), value) as object;
}

function merged(one: object, other: object): object {
  const all = { ...one } as Record<string, unknown>;
  for (const [name, value] of Object.entries(other)) {
    const there = all[name];
    const both = isRecord(there) && isRecord(value);
    all[name] = both ? merged(there, value) : value;
  }
  return all;
}

const isRecord = (value: unknown): value is object =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Values that the schema describes, by path, without those that are not part of the installation. */
function documented(): ReadonlyMap<string, { readonly schema: ValueSchema; readonly given: unknown }> {
  const found = new Map<string, { readonly schema: ValueSchema; readonly given: unknown }>();
  const walk = (schema: ValueSchema, given: unknown, path: string): void => {
    if (!schema.properties) return void found.set(path, { schema, given });
    for (const [name, inner] of Object.entries(schema.properties))
      if (!/^(?:global|acceptRestore|trial)$/.test(name))
        walk(inner, (given as Record<string, unknown> | undefined)?.[name], path ? `${path}.${name}` : name);
  };
  walk(valuesSchema(), parse(readFileSync(join(CHART, 'values.yaml'), 'utf8')), '');
  return found;
}

/** Makes another value than the default. @throws Error if the schema does not determine one */
function changeOf(path: string): readonly [value: unknown, beside?: object] {
  const { schema, given } = documented().get(path)!;
  if (CHANGES[path]) return CHANGES[path];
  if (schema.enum) return [schema.enum.find((one) => one !== given)];
  if (schema.type === 'boolean') return [given !== true];
  if (schema.type === 'integer') return [(given as number) + 1];
  throw new Error(`CHANGES has no other value for ${path}`);
}

describe('on an existing installation', () => {
  it.each([...documented().keys()].filter((path) => !FORBIDDEN.includes(path)))(
    '%s may change, and be set back',
    async (path) => {
      const [value, beside = {}] = changeOf(path);
      const before = await rendered(beside);
      const after = await rendered(merged(beside, nested(path, value)));
      expect(without(after, before).length + without(before, after).length).toBeGreaterThan(0);
      const [was, becomes] = [await installed(before), await installed(after)];
      for (const object of was) await api.send(object, false);
      for (const object of without(becomes, was)) await api.send(object, false);
      for (const object of without(was, becomes)) await api.send(object, false);
    },
  );

  it.each(['ClusterIP', 'NodePort', 'LoadBalancer'])('Services of type %s may become of any other', async (type) => {
    for (const other of ['ClusterIP', 'NodePort', 'LoadBalancer'])
      for (const one of [type, other, type]) {
        const service = { service: { type: one } };
        const objects = await installed(await rendered({ broker: service, edge: service }));
        for (const object of objects.filter(({ kind }) => kind === 'Service'))
          expect(await api.send(object, false)).toMatchObject({ spec: { type: object.spec.type ?? 'ClusterIP' } });
      }
  });

  it('bindings are of the same role for all values', async () => {
    const sets = await Promise.all([{}, { gitops: true }, DATABASE].map((values) => rendered(values)));
    const roles = new Map<string, Set<string>>();
    for (const { kind, metadata, roleRef } of sets.flat().filter(({ kind }) => /RoleBinding$/.test(kind))) {
      const key = `${kind} ${metadata.namespace}/${metadata.name}`;
      roles.set(key, (roles.get(key) ?? new Set()).add(JSON.stringify(roleRef)));
    }
    expect(roles.size).toBeGreaterThan(2);
    for (const [key, refs] of roles) expect([key, refs.size]).toEqual([key, 1]);
  });
});

describe('the volume of the embedded store', () => {
  const claimOf = async (embedded: object) =>
    find(await rendered({ database: { embedded } }), 'PersistentVolumeClaim', 'meshpass-data');
  /** Renders like `helm upgrade`: the chart queries the cluster for existing objects. */
  const upgraded = async (embedded: object) => {
    const values = ['broker.host=b.example.com', 'edge.host=e.example.com', `access.configMap=a`];
    const sets = [...values, 'admission.services={orders.shop}'].flatMap((value) => ['--set', value]);
    const json = ['--set-json', `database.embedded=${JSON.stringify(embedded)}`];
    const where = ['--namespace', NAMESPACE, '--take-ownership', '--dry-run=server', '--kubeconfig', lab.kubeconfig];
    return await helm('template', 'meshpass', CHART, ...where, ...sets, ...json);
  };
  const PATH = `/api/v1/namespaces/${NAMESPACE}/persistentvolumeclaims/meshpass-data`;
  /** A StatefulSet of this class, with a volume. */
  const bound = async (storageClass: string) => {
    // A lab has no controller that lets go of a claim.
    const free = { metadata: { finalizers: null } };
    await lab.kubernetes.call('PATCH', PATH, free, 'application/merge-patch+json').catch(() => {});
    await lab.kubernetes.call('DELETE', PATH).catch(() => {});
    await expect.poll(() => lab.kubernetes.call('GET', PATH).catch(() => 'gone')).toBe('gone');
    for (const [name, grows] of [['chart-fixed', false] as const, ['chart-grows', true] as const])
      await api.send(
        {
          apiVersion: 'storage.k8s.io/v1',
          kind: 'StorageClass',
          metadata: { name },
          provisioner: 'example.com/none',
          allowVolumeExpansion: grows,
        },
        false,
      );
    await api.send(await claimOf({ size: '5Gi', storageClass }), false);
    const status = { phase: 'Bound', capacity: { storage: '5Gi' } };
    await lab.kubernetes.call('PATCH', `${PATH}/status`, { status }, 'application/merge-patch+json');
  };

  it('may grow if its class allows it', async () => {
    await bound('chart-grows');
    for (const size of ['5Gi', '5120Mi', '5368709120', '6Gi', '1Ti'])
      expect(await upgraded({ size, storageClass: 'chart-grows' })).toContain(`storage: "${size}"`);
    await api.send(await claimOf({ size: '6Gi', storageClass: 'chart-grows' }), true);
  });

  it.each([
    ['gets no smaller', 'chart-grows', { size: '4Gi', storageClass: 'chart-grows' }, 'database.embedded.size: 4Gi'],
    [
      'gets no smaller in other units',
      'chart-grows',
      { size: '5G', storageClass: 'chart-grows' },
      'database.embedded.size: 5G',
    ],
    [
      'keeps its size where its class says so',
      'chart-fixed',
      { size: '6Gi', storageClass: 'chart-fixed' },
      'does not support larger volumes (allowVolumeExpansion)',
    ],
    ['keeps its class', 'chart-grows', { size: '5Gi', storageClass: 'chart-fixed' }, 'database.embedded.storageClass'],
    ['keeps a class that is no longer given', 'chart-grows', { size: '5Gi' }, 'database.embedded.storageClass'],
  ])('%s: the chart explains what to do before Kubernetes refuses', async (_, storageClass, embedded, message) => {
    await bound(storageClass);
    await expect(upgraded(embedded)).rejects.toThrow(message);
    await expect(claimOf(embedded).then((claim) => api.send(claim, true))).rejects.toThrow();
  });
});
