import { describe, expect, test } from 'vitest';
import { formatSni, formatSpiffe, parseSpiffe, parseTarget, serviceAccountName, spiffeOfSan } from '../src/spiffe.ts';

const ID = 'spiffe://cluster.local/ns/meshpass-payments-dev/sa/alice-0a1b2c';

describe('SPIFFE ids', () => {
  test('are parsed into what they were formatted from', () => {
    expect(formatSpiffe(parseSpiffe(ID)!)).toBe(ID);
  });
  test.each([
    'spiffe://cluster.local/ns/shop',
    'spiffe://cluster.local/ns/shop/sa/orders/extra',
    'spiffe://cluster.local/ns//sa/orders',
    'SPIFFE://cluster.local/ns/shop/sa/orders',
    'https://cluster.local/ns/shop/sa/orders',
    `${ID}\n`,
    '',
  ])('refuse %j', (text) => {
    expect(parseSpiffe(text)).toBeUndefined();
  });
  test('come from a certificate only when it has exactly one URI SAN', () => {
    expect(spiffeOfSan(`URI:${ID}`)).toBe(ID);
    expect(spiffeOfSan(`DNS:a, URI:${ID}`)).toBe(ID);
    expect(spiffeOfSan(`URI:${ID}, URI:${ID}`)).toBeUndefined();
    expect(spiffeOfSan('DNS:orders.shop')).toBeUndefined();
    expect(spiffeOfSan(undefined)).toBeUndefined();
  });
});

describe('targets', () => {
  test('are host and port and nothing else', () => {
    expect(parseTarget('orders.shop.svc.cluster.local:8080')).toEqual({
      host: 'orders.shop.svc.cluster.local',
      port: 8080,
    });
  });
  test.each([
    'orders.shop',
    'orders.shop:0',
    'orders.shop:65536',
    'ORDERS.shop:80',
    'a b:80',
    '[::1]:80',
    'x:80/y',
    '',
  ])('refuse %j', (text) => {
    expect(parseTarget(text)).toBeUndefined();
  });
  test('have the SNI that istio gives a cluster', () => {
    expect(formatSni({ host: 'orders.shop.svc.cluster.local', port: 8080 })).toBe(
      'outbound_.8080_._.orders.shop.svc.cluster.local',
    );
  });
});

describe('ServiceAccount names', () => {
  test.each([
    ['octocat', 'octocat-ab12'],
    ['Mona.Lisa@acme.com', 'mona-lisa-acme-com-ab12'],
    ['--', 'ab12'],
    ['a'.repeat(80), `${'a'.repeat(40)}-ab12`],
    [`${'a'.repeat(39)}--b`, `${'a'.repeat(39)}-ab12`],
  ])('of %s is %s', (login, name) => {
    expect(serviceAccountName(login, 'ab12')).toBe(name);
  });
});
