import { expect, test } from 'vitest';
import { Principals } from '../../src/sds/principals.ts';

const svids = (of: Readonly<Record<string, string>>) =>
  new Map(
    Object.entries(of).map(([grant, name]) => [grant, { spiffeId: `spiffe://cluster.local/ns/${grant}/sa/${name}` }]),
  );

test('reports no change of principal for first or renewed certificates', () => {
  const principals = new Principals();
  for (const isSession of [true, false]) {
    expect(principals.given(svids({ payments: 'first', audit: 'first' }), isSession)).toBe(false);
    expect(principals.taken(['payments'])).toBe(false);
    expect(principals.taken(['audit'])).toBe(false);
  }
});

test("reports another session's certificates once, when Envoy has all of them", () => {
  const principals = new Principals();
  principals.given(svids({ payments: 'first', audit: 'first' }), true);
  expect(principals.given(svids({ payments: 'second', audit: 'second' }), true)).toBe(false);
  expect(principals.taken(['roots'])).toBe(false);
  expect(principals.taken(['payments'])).toBe(false);
  expect(principals.taken(['audit'])).toBe(true);
  expect(principals.taken(['audit'])).toBe(false);
});

test('reports another session with other grants, but not a grant that a session gains', () => {
  const principals = new Principals();
  principals.given(svids({}), true);
  principals.given(svids({ payments: 'second' }), true);
  expect(principals.taken(['payments'])).toBe(true);
  principals.given(svids({ payments: 'second', audit: 'second' }), false);
  expect(principals.taken(['audit'])).toBe(false);
});

test('reports a grant that was lost and regained, since its principal changed', () => {
  const principals = new Principals();
  principals.given(svids({ payments: 'first', audit: 'first' }), true);
  principals.given(svids({ payments: 'first' }), false);
  principals.given(svids({ payments: 'first', audit: 'second' }), false);
  expect(principals.taken(['payments'])).toBe(false);
  expect(principals.taken(['audit'])).toBe(true);
});

test('does not wait for a grant that is lost in the meantime', () => {
  const principals = new Principals();
  principals.given(svids({ payments: 'first', audit: 'first' }), true);
  principals.given(svids({ payments: 'second', audit: 'second' }), true);
  expect(principals.taken(['payments'])).toBe(false);
  expect(principals.given(svids({ payments: 'second' }), false)).toBe(true);
  expect(principals.taken(['payments'])).toBe(false);
});

test('discards the oldest grants of a broker that invents them without end', () => {
  const principals = new Principals();
  for (let n = 0; n <= 1_000; n++) principals.given(svids({ [`grant-${n}`]: 'first' }), true);
  principals.taken(['grant-1000']);
  // The oldest grant is no longer known, and the session gains it while it runs.
  expect(principals.given(svids({ 'grant-0': 'second' }), false)).toBe(false);
  expect(principals.taken(['grant-0'])).toBe(false);
});
