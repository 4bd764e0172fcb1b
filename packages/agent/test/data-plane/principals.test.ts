import { expect, test } from 'vitest';
import { Principals } from '../../src/sds/principals.ts';

const svids = (of: Readonly<Record<string, string>>) =>
  new Map(
    Object.entries(of).map(([grant, name]) => [grant, { spiffeId: `spiffe://cluster.local/ns/${grant}/sa/${name}` }]),
  );

test('the first certificates, and those that are renewed, are of nobody else', () => {
  const principals = new Principals();
  for (const isSession of [true, false]) {
    expect(principals.given(svids({ payments: 'first', audit: 'first' }), isSession)).toBe(false);
    expect(principals.taken(['payments'])).toBe(false);
    expect(principals.taken(['audit'])).toBe(false);
  }
});

test('those of another session are told once, when Envoy has all of them', () => {
  const principals = new Principals();
  principals.given(svids({ payments: 'first', audit: 'first' }), true);
  expect(principals.given(svids({ payments: 'second', audit: 'second' }), true)).toBe(false);
  expect(principals.taken(['roots'])).toBe(false);
  expect(principals.taken(['payments'])).toBe(false);
  expect(principals.taken(['audit'])).toBe(true);
  expect(principals.taken(['audit'])).toBe(false);
});

test('another session with other grants is told as well, and a grant that a session gains is not', () => {
  const principals = new Principals();
  principals.given(svids({}), true);
  principals.given(svids({ payments: 'second' }), true);
  expect(principals.taken(['payments'])).toBe(true);
  principals.given(svids({ payments: 'second', audit: 'second' }), false);
  expect(principals.taken(['audit'])).toBe(false);
});

test('a grant that was lost and regained has another principal', () => {
  const principals = new Principals();
  principals.given(svids({ payments: 'first', audit: 'first' }), true);
  principals.given(svids({ payments: 'first' }), false);
  principals.given(svids({ payments: 'first', audit: 'second' }), false);
  expect(principals.taken(['payments'])).toBe(false);
  expect(principals.taken(['audit'])).toBe(true);
});

test('a grant that is lost meanwhile is not waited for', () => {
  const principals = new Principals();
  principals.given(svids({ payments: 'first', audit: 'first' }), true);
  principals.given(svids({ payments: 'second', audit: 'second' }), true);
  expect(principals.taken(['payments'])).toBe(false);
  expect(principals.given(svids({ payments: 'second' }), false)).toBe(true);
  expect(principals.taken(['payments'])).toBe(false);
});

test('of grants that a broker names without end, the oldest are forgotten', () => {
  const principals = new Principals();
  for (let n = 0; n <= 1_000; n++) principals.given(svids({ [`grant-${n}`]: 'first' }), true);
  principals.taken(['grant-1000']);
  // The oldest is not known, and gained in a running session.
  expect(principals.given(svids({ 'grant-0': 'second' }), false)).toBe(false);
  expect(principals.taken(['grant-0'])).toBe(false);
});
