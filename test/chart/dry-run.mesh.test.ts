/** A real API server takes every object of the chart as Helm renders it, with no field that it does not know, also in the place of another. */
import { type Lab, upLab } from '@meshpass/lab';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ApiServer, apiServerOf } from './api-server.ts';
import { BUILD_MS, FIRST_INSTALL, PRODUCTION, type Rendered, render } from './helm.ts';

const NAMESPACE = 'chart-dry-run';
/** Kinds of operators that a lab does not have; their schemas are not checked here. */
const UNKNOWN_HERE = ['Certificate', 'PrometheusRule', 'ServiceMonitor'];
const ROOT = { mesh: { rootNamespace: 'istio-system' } };

let lab: Lab;
let api: ApiServer;
const sets: Record<string, Rendered[]> = {};
beforeAll(async () => {
  lab = await upLab({ name: process.env.MESHPASS_LAB ?? 'mesh' });
  api = apiServerOf(lab);
  await lab.kubernetes.apply({
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: { name: NAMESPACE, labels: { 'pod-security.kubernetes.io/enforce': 'restricted' } },
  });
  const flags = ['--namespace', NAMESPACE];
  sets['first install'] = await render(FIRST_INSTALL, {}, flags);
  sets.production = await render(PRODUCTION, ROOT, flags);
  sets['production without GitOps'] = await render(PRODUCTION, { ...ROOT, gitops: false }, flags);
  sets['a declared restore'] = await render(PRODUCTION, { ...ROOT, acceptRestore: { by: 'olga', reason: 'lost' } }, [
    ...flags,
    ...['--show-only', 'templates/accept-restore.yaml'],
  ]);
}, BUILD_MS);
afterAll(async () => {
  await lab?.kubernetes.call('DELETE', `/api/v1/namespaces/${NAMESPACE}`);
  await lab?.down();
});

const known = (objects: readonly Rendered[]) => objects.filter(({ kind }) => !UNKNOWN_HERE.includes(kind));

describe.each(['first install', 'production', 'production without GitOps', 'a declared restore'])('%s', (name) => {
  it('is accepted whole, except for kinds of operators that are not installed', async () => {
    const missing = new Set<string>();
    for (const object of sets[name]!) {
      if (!(await api.knows(object))) missing.add(object.kind);
      else expect(await api.send(object, true), object.metadata.name).toMatchObject({ kind: object.kind });
    }
    expect([...missing].filter((kind) => !UNKNOWN_HERE.includes(kind))).toEqual([]);
  });

  it('has Pods that a namespace with the restricted standard accepts', async () => {
    const owners = sets[name]!.filter(({ kind }) => ['Deployment', 'Job'].includes(kind));
    expect(owners.length).toBeGreaterThan(0);
    for (const { metadata, spec } of owners) {
      const pod = spec.template.spec;
      const account = { name: pod.serviceAccountName ?? 'default', namespace: NAMESPACE };
      await lab.kubernetes.apply({ apiVersion: 'v1', kind: 'ServiceAccount', metadata: account });
      const object = {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { ...spec.template.metadata, name: metadata.name ?? 'restore' },
        // Classes are of the cluster, and this one is not there.
        spec: { ...pod, priorityClassName: undefined },
      };
      const path = `/api/v1/namespaces/${NAMESPACE}/pods?dryRun=All&fieldValidation=Strict`;
      expect(await lab.kubernetes.call('POST', path, object), metadata.name).toMatchObject({ kind: 'Pod' });
    }
  });
});

it('every set of values may replace every other, without manual deletions', async () => {
  const names = Object.keys(sets).filter((name) => name !== 'a declared restore');
  // Hooks are deleted before they are made again.
  const inside = (objects: readonly Rendered[]) =>
    known(objects).filter(
      ({ metadata }) => metadata.namespace === NAMESPACE && !metadata.annotations?.['helm.sh/hook'],
    );
  for (const before of names) {
    for (const object of inside(sets[before]!)) await api.send(object, false);
    for (const after of names) for (const object of inside(sets[after]!)) await api.send(object, true);
  }
});
