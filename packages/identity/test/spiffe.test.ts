import { describe, expect, test } from 'vitest';
import {
  formatSni,
  formatSpiffe,
  parseSni,
  parseSpiffe,
  parseTarget,
  serviceAccountName,
  spiffeIdFromSan,
} from '../src/spiffe.ts';

const ID = 'spiffe://cluster.local/ns/meshpass-payments-dev/sa/alice-0a1b2c';

describe('SPIFFE ids', () => {
  test('are parsed back into their parts', () => {
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
  test('are read only from a certificate with exactly one URI SAN', () => {
    expect(spiffeIdFromSan(`URI:${ID}`)).toBe(ID);
    expect(spiffeIdFromSan(`DNS:a, URI:${ID}`)).toBe(ID);
    expect(spiffeIdFromSan(`URI:${ID}, URI:${ID}`)).toBeUndefined();
    expect(spiffeIdFromSan('DNS:orders.shop')).toBeUndefined();
    expect(spiffeIdFromSan(undefined)).toBeUndefined();
  });
});

describe('targets', () => {
  test('consist of host and port only', () => {
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
  test('have the SNI of their Istio cluster', () => {
    expect(formatSni({ host: 'orders.shop.svc.cluster.local', port: 8080 })).toBe(
      'outbound_.8080_._.orders.shop.svc.cluster.local',
    );
  });
});

describe('Istio SNIs', () => {
  const host = 'orders.shop.svc.cluster.local';

  test.each([
    [`outbound_.8080_._.${host}`, { host, port: 8080 }],
    [`outbound_.8080_.v2_.${host}`, { host, port: 8080, subset: 'v2' }],
    [`outbound_.65535_.canary-2026_.${host}`, { host, port: 65_535, subset: 'canary-2026' }],
    [`outbound_.1_.${'a'.repeat(63)}_.db`, { host: 'db', port: 1, subset: 'a'.repeat(63) }],
  ])('%s is parsed back into its parts', (sni, cluster) => {
    expect(parseSni(sni)).toEqual(cluster);
    expect(formatSni(cluster)).toBe(sni);
  });

  test.each([
    ['nothing', ''],
    ['the plain host', host],
    ['the inbound direction', `inbound_.8080_._.${host}`],
    ['capital letters', `OUTBOUND_.8080_._.${host}`],
    ['a host in capital letters', `outbound_.8080_._.${host.toUpperCase()}`],
    ['a subset in capital letters', `outbound_.8080_.V2_.${host}`],
    ['no port', `outbound_._._.${host}`],
    ['port 0', `outbound_.0_._.${host}`],
    ['a leading zero', `outbound_.08080_._.${host}`],
    ['a sign', `outbound_.+8080_._.${host}`],
    ['a port beyond 65535', `outbound_.65536_._.${host}`],
    ['a port that is a word', `outbound_.http_._.${host}`],
    ['no subset at all', `outbound_.8080_.${host}`],
    ['a subset with an underscore', `outbound_.8080_.v_2_.${host}`],
    ['a subset that is an underscore', `outbound_.8080_.__.${host}`],
    ['a subset with a dot', `outbound_.8080_.v.2_.${host}`],
    ['a subset that begins with a hyphen', `outbound_.8080_.-v2_.${host}`],
    ['a subset that ends with a hyphen', `outbound_.8080_.v2-_.${host}`],
    ['a subset of 64 letters', `outbound_.8080_.${'a'.repeat(64)}_.${host}`],
    ['two SNIs in one', `outbound_.8080_._.outbound_.5432_._.${host}`],
    ['a subset that contains an SNI', `outbound_.8080_.v2_.web.dev_._.${host}`],
    ['no host', 'outbound_.8080_._.'],
    ['an empty label', 'outbound_.8080_._.orders..shop'],
    ['a host that begins with a dot', `outbound_.8080_._..${host}`],
    ['a host that ends with a dot', `outbound_.8080_._.${host}.`],
    ['a label that begins with a hyphen', 'outbound_.8080_._.-orders.shop'],
    ['a wildcard', 'outbound_.8080_._.*.shop.svc.cluster.local'],
    ['a port after the host', `outbound_.8080_._.${host}:15443`],
    ['an IPv6 address', 'outbound_.8080_._.[::1]'],
    ['a space', `outbound_.8080_._.${host} `],
    ['a line break', `outbound_.8080_._.${host}\n`],
    ['a NUL', `outbound_.8080_._.${host}\0`],
    ['letters outside ASCII', 'outbound_.8080_._.örders.shop'],
    ['an Arabic digit', `outbound_.٨080_._.${host}`],
    ['a slash', `outbound_.8080_._.${host}/x`],
    ['more than 255 bytes', `outbound_.8080_._.${'a.'.repeat(130)}b`],
    ['text before it', `xoutbound_.8080_._.${host}`],
  ])('are rejected with %s', (_what, sni) => {
    expect(parseSni(sni)).toBeUndefined();
  });

  test('are unambiguous: formatting the parsed parts returns the accepted text', () => {
    const pieces = ['outbound', '_', '.', '8080', '0', '-', 'v2', 'orders', 'shop', ':', ' '];
    let seed = 7;
    const random = (below: number) => {
      seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
      return (seed >>> 8) % below;
    };
    let accepted = 0;
    for (let round = 0; round < 50_000; round++) {
      const tail = Array.from({ length: 1 + random(7) }, () => pieces[random(pieces.length)]).join('');
      const text = `${['outbound_.8080_.', 'outbound_.8080_._.', ''][random(3)]}${tail}`;
      const parsed = parseSni(text);
      if (!parsed) continue;
      accepted++;
      expect(formatSni(parsed)).toBe(text);
    }
    expect(accepted).toBeGreaterThan(100);
  });
});

describe('ServiceAccount names', () => {
  test.each([
    ['octocat', 'octocat-ab12'],
    ['Mona.Lisa@acme.com', 'mona-lisa-acme-com-ab12'],
    ['--', 'ab12'],
    ['a'.repeat(80), `${'a'.repeat(40)}-ab12`],
    [`${'a'.repeat(39)}--b`, `${'a'.repeat(39)}-ab12`],
  ])('for %s is %s', (login, name) => {
    expect(serviceAccountName(login, 'ab12')).toBe(name);
  });
});
