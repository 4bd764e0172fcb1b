import { expect, test } from 'vitest';
import { Principals } from '../../src/sds/principals.ts';

const svids = (of: Readonly<Record<string, string>>) =>
  new Map(
    Object.entries(of).map(([grant, name]) => [grant, { spiffeId: `spiffe://cluster.local/ns/${grant}/sa/${name}` }]),
  );

test('the first certificates, and those that are renewed, are of nobody else', () => {
  const principals = new Principals();
  for (let round = 0; round < 2; round++) {
    principals.given(svids({ payments: 'first', audit: 'first' }));
    expect(principals.taken(['payments'])).toBe(false);
    expect(principals.taken(['audit'])).toBe(false);
  }
});

test('those of another session are told once, when Envoy has all of them', () => {
  const principals = new Principals();
  principals.given(svids({ payments: 'first', audit: 'first' }));
  principals.given(svids({ payments: 'second', audit: 'second' }));
  expect(principals.taken(['roots'])).toBe(false);
  expect(principals.taken(['payments'])).toBe(false);
  expect(principals.taken(['audit'])).toBe(true);
  expect(principals.taken(['audit'])).toBe(false);
});

test('a grant that was lost and regained has another principal', () => {
  const principals = new Principals();
  principals.given(svids({ payments: 'first', audit: 'first' }));
  principals.given(svids({ payments: 'first' }));
  principals.given(svids({ payments: 'first', audit: 'second' }));
  expect(principals.taken(['payments'])).toBe(false);
  expect(principals.taken(['audit'])).toBe(true);
});

test('a grant that is lost meanwhile is not waited for', () => {
  const principals = new Principals();
  principals.given(svids({ payments: 'first', audit: 'first' }));
  principals.given(svids({ payments: 'second', audit: 'second' }));
  expect(principals.taken(['payments'])).toBe(false);
  principals.given(svids({ payments: 'second' }));
  expect(principals.taken(['roots'])).toBe(true);
});
