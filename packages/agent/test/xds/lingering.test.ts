import { CLUSTER, LISTENER, ROUTE_CONFIGURATION } from '@meshpass/envoy';
import { expect, test } from 'vitest';
import { indexResources } from '../../src/xds/accept.ts';
import type { EnvoyResources } from '../../src/xds/discovery.ts';
import { LingeringResources } from '../../src/xds/lingering.ts';

const HOUR = 3_600_000;
const address = { socket_address: { address: '127.64.0.1', port_value: 80 } };
const one = (type: string, ...names: readonly string[]) =>
  indexResources(
    type,
    names.map((name) => ({ name })),
  );
const SHARED: EnvoyResources = {
  [CLUSTER]: one(CLUSTER, 'dev/orders', 'dev/shared', 'sre/shared'),
  [LISTENER]: new Map([
    ...indexResources(LISTENER, [{ name: 'dev/socket', address }]),
    ...one(LISTENER, 'dev/inner', 'sre/inner'),
  ]),
  [ROUTE_CONFIGURATION]: one(ROUTE_CONFIGURATION, 'dev/80'),
};
const ALONE: EnvoyResources = {
  [CLUSTER]: one(CLUSTER, 'dev/orders'),
  [LISTENER]: indexResources(LISTENER, [{ name: 'dev/alone', address }]),
  [ROUTE_CONFIGURATION]: one(ROUTE_CONFIGURATION, 'dev/80'),
};
const names = (resources: EnvoyResources) =>
  Object.values(resources)
    .flatMap((all) => [...all.keys()])
    .sort();

test('keeps resources of existing connections for current grants, but no listener with a socket', () => {
  const lingering = new LingeringResources();
  lingering.replaced(SHARED, ALONE, 0);
  const now = ['dev/80', 'dev/alone', 'dev/inner', 'dev/orders', 'dev/shared'];
  expect(names(lingering.with(ALONE, ['dev']))).toEqual(now);
  expect(names(lingering.with(SHARED, ['dev', 'sre']))).toEqual(names(SHARED));
});

test('keeps resources for an hour after their last use, but not for another session', () => {
  const lingering = new LingeringResources();
  lingering.replaced(SHARED, ALONE, 0);
  lingering.replaced(ALONE, ALONE, HOUR - 1);
  expect(names(lingering.with(ALONE, ['dev']))).toContain('dev/shared');
  lingering.replaced(ALONE, ALONE, HOUR);
  expect(names(lingering.with(ALONE, ['dev']))).toEqual(names(ALONE));
  lingering.replaced(SHARED, ALONE, HOUR);
  lingering.clear();
  expect(names(lingering.with(ALONE, ['dev']))).toEqual(names(ALONE));
});

test('keeps a limited number of resources, the newest', () => {
  const lingering = new LingeringResources();
  const many = Array.from({ length: 1_500 }, (_, n) => `dev/${n}`);
  lingering.replaced({ [CLUSTER]: one(CLUSTER, ...many) }, ALONE, 0);
  const kept = names(lingering.with(ALONE, ['dev']));
  expect(kept).toHaveLength(1_000 + names(ALONE).length);
  expect(kept).toContain('dev/1499');
});
