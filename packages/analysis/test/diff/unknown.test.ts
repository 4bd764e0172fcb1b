/** Two states are not compared at ports without a standard sidecar: neither a change nor equality is reported there. */

import { DEFAULT_MESH_CONFIG, loadManifests } from '@meshpass/istio';
import { describe, expect, it } from 'vitest';
import { AMBIENT, namespace, POLICY, SERVICE, UNDERSTOOD, UNKNOWN } from '../../../istio/test/unknown-meshes.ts';
import { compareMeaning } from '../../src/diff/compare.ts';

const read = (text: string) => loadManifests(text, 'mesh.yaml').resources;
const compare = (before: string, after: string) => compareMeaning(read(before), read(after), DEFAULT_MESH_CONFIG);
const atOrders = ({ where }: ReturnType<typeof compare>['unknown'][number]) =>
  where.some(({ services }) => services.includes('orders.shop:8080'));

describe.each(UNKNOWN)('%s', (_, mesh, reason) => {
  it('is unknown if a policy is added, without a gain or a loss', () => {
    const { unknown, changes } = compare(SERVICE + mesh, SERVICE + POLICY + mesh);
    const there = unknown.filter(atOrders);
    expect(there.some((one) => reason.test(one.reason))).toBe(true);
    const claimed = changes.filter(({ where }) =>
      where.some(({ port, services }) => port === 8080 && services.length > 0),
    );
    expect(
      claimed.flatMap(({ where }) => where.filter((one) => there.some((other) => other.where.includes(one)))),
    ).toEqual([]);
  });

  it('is unknown if the object itself is added, with unchanged policies', () => {
    const { unknown } = compare(SERVICE + POLICY, SERVICE + POLICY + mesh);
    expect(unknown.filter(atOrders).some((one) => reason.test(one.reason))).toBe(true);
  });

  it('is equal if nothing differs', () => {
    expect(compare(SERVICE + POLICY + mesh, SERVICE + POLICY + mesh).unknown).toEqual([]);
  });
});

it.each([...UNDERSTOOD, ...AMBIENT])('%s is compared', (_, mesh) => {
  const { unknown, changes } = compare(SERVICE + mesh, SERVICE + POLICY + mesh);
  expect(unknown.filter(atOrders)).toEqual([]);
  expect(changes.some(({ where }) => where.some(({ services }) => services.includes('orders.shop:8080')))).toBe(true);
});

it('is unknown for workloads that only a policy mentions', () => {
  const bare = namespace('istio-injection: disabled');
  const { unknown, changes } = compare(bare, POLICY + bare);
  expect(unknown[0]!.reason).toMatch(/disabled/);
  expect(changes).toEqual([]);
});

it('is not reported for an unchanged namespace, nor for future Pods if the mesh changes', () => {
  const other = '---\napiVersion: v1\nkind: Namespace\nmetadata: {name: kube-system}\n';
  const root = POLICY.replaceAll('namespace: shop', 'namespace: istio-system');
  expect(compare(other + SERVICE, other + SERVICE + POLICY).unknown).toEqual([]);
  expect(compare(other + SERVICE, other + SERVICE + root).unknown).toEqual([]);
});

it('lists the namespaces that are assumed to be injected', () => {
  expect(compare(SERVICE, SERVICE + POLICY).assumed).toEqual(['shop']);
  expect(
    compare(SERVICE + namespace('istio-injection: enabled'), SERVICE + namespace('istio-injection: enabled')).assumed,
  ).toEqual([]);
});
