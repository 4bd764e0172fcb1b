/** Random policies and calls from few words, so that they often match; deterministic by seed. */

import { loadObject, type Resource } from '@meshpass/istio';
import type { Call } from '../../src/diff/formula/call.ts';

export type Random = () => number;

/** Creates a random source (mulberry32). */
export function seeded(seed: number): Random {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

const NAMESPACES = ['shop', 'dev', 'shop-eu'];
const ACCOUNTS = ['orders', 'web', 'order'];
const DOMAINS = ['cluster.local', 'old.example', 'other.example'];
export const PATHS = ['/', '/a', '/a/b', '/ab', '/a/b/c', '/admin', '/admin/x/y', '/b'];
export const METHODS = ['GET', 'POST', 'DELETE', 'GETS'];
const HOSTS = ['orders.shop', 'ORDERS.shop:8080', 'web.dev', 'orders.shop.evil'];
const SNIS = [
  ...['outbound_.8080_._.orders.shop', 'outbound_.8080_.v1_.orders.shop', 'outbound_.80_.v1_.orders.shop'],
  ...['outbound_.80_._.web.dev', 'outbound_.8080_.orders.shop', 'x'],
];
/** Beginnings of a port's server names, and ends of a host's. */
const SERVER_NAMES = ['outbound_.8080_.*', 'outbound_.80_.*', '*_.orders.shop', '*_.web.dev'];
export const ISSUERS = ['https://a.example', 'https://b.example/', 'https://c.example'];
const SUBJECTS = ['alice', 'alina', 'bob'];
const CLAIMS = ['sre', 'sres', 'dev'];
const IPS = ['10.0.0.1', '10.1.2.3', '192.168.1.1', '2001:db8::1', '11.0.0.0'];
const RANGES = ['10.0.0.0/8', '10.1.0.0/16', '10.1.2.3', '192.168.0.0/16', '2001:db8::/32', '0.0.0.0/0'];
const TEMPLATES = ['/a/{*}', '/a/{**}', '/{*}/b', '/{*}/x/{**}', '/admin/{*}/y'];

export const pick = <T>(random: Random, from: readonly T[]): T => from[Math.floor(random() * from.length)]!;

/** Returns a value as in a policy: exact, or with a star at one end. */
function wild(random: Random, word: string): string {
  const kind = random();
  const cut = 1 + Math.floor(random() * word.length);
  if (kind < 0.5) return word;
  if (kind < 0.72) return `${word.slice(0, cut)}*`;
  if (kind < 0.94) return `*${word.slice(-cut)}`;
  return '*';
}

function principal(random: Random): string {
  return wild(random, `${pick(random, DOMAINS)}/ns/${pick(random, NAMESPACES)}/sa/${pick(random, ACCOUNTS)}`);
}

export const some = <T>(random: Random, make: () => T): T[] =>
  Array.from({ length: 1 + Math.floor(random() * 2) }, make);
export const maybe = (random: Random, likely: number, name: string, make: () => unknown): object =>
  random() < likely ? { [name]: make() } : {};

/** Returns a rule with any possible members. */
export function rule(random: Random): object {
  const source = () => ({
    ...maybe(random, 0.25, 'principals', () => some(random, () => principal(random))),
    ...maybe(random, 0.15, 'notPrincipals', () => some(random, () => principal(random))),
    ...maybe(random, 0.25, 'namespaces', () => some(random, () => wild(random, pick(random, NAMESPACES)))),
    ...maybe(random, 0.15, 'notNamespaces', () => some(random, () => wild(random, pick(random, NAMESPACES)))),
    ...maybe(random, 0.1, 'serviceAccounts', () => some(random, () => pick(random, ['orders', 'dev/web']))),
    ...maybe(random, 0.15, 'requestPrincipals', () =>
      some(random, () => wild(random, `${pick(random, ISSUERS)}/${pick(random, SUBJECTS)}`)),
    ),
    ...maybe(random, 0.1, 'notRequestPrincipals', () => [`${pick(random, ISSUERS)}/*`]),
    ...maybe(random, 0.12, 'ipBlocks', () => some(random, () => pick(random, RANGES))),
    ...maybe(random, 0.08, 'notRemoteIpBlocks', () => some(random, () => pick(random, RANGES))),
  });
  const path = () => (random() < 0.3 ? pick(random, TEMPLATES) : wild(random, pick(random, PATHS)));
  const operation = () => ({
    ...maybe(random, 0.3, 'methods', () => some(random, () => wild(random, pick(random, METHODS)))),
    ...maybe(random, 0.15, 'notMethods', () => some(random, () => pick(random, METHODS))),
    ...maybe(random, 0.35, 'paths', () => some(random, path)),
    ...maybe(random, 0.25, 'notPaths', () => some(random, path)),
    ...maybe(random, 0.12, 'hosts', () => some(random, () => wild(random, pick(random, HOSTS)))),
    ...maybe(random, 0.12, 'ports', () => [pick(random, ['8080', '9090'])]),
  });
  const condition = () => {
    const values = (words: readonly string[]) => {
      const list = some(random, () => wild(random, pick(random, words)));
      return random() < 0.6 ? { values: list } : { notValues: list };
    };
    switch (Math.floor(random() * 6)) {
      case 0:
        return { key: 'connection.sni', ...values(random() < 0.5 ? SNIS : SERVER_NAMES) };
      case 1:
        return { key: 'request.auth.claims[groups]', ...values(CLAIMS) };
      case 2:
        return { key: 'request.headers[X-Team]', ...values(CLAIMS) };
      case 3:
        return { key: 'source.ip', values: [pick(random, RANGES)] };
      case 4:
        return { key: 'request.auth.audiences', ...values(['meshpass', 'mesh']) };
      default:
        return random() < 0.7
          ? { key: 'source.trustDomain', ...values(DOMAINS) }
          : { key: 'source.unknown', values: ['x'] };
    }
  };
  return {
    ...maybe(random, 0.7, 'from', () => some(random, () => ({ source: source() }))),
    ...maybe(random, 0.7, 'to', () => some(random, () => ({ operation: operation() }))),
    ...maybe(random, 0.35, 'when', () => some(random, condition)),
  };
}

/** Returns a state of a mesh: workloads orders and web in shop, and their policies. */
export function randomState(random: Random): readonly Resource[] {
  const objects: object[] = [service('orders'), service('web')];
  const count = 1 + Math.floor(random() * 4);
  for (let index = 0; index < count; index++) {
    const inRoot = random() < 0.3;
    objects.push({
      apiVersion: 'security.istio.io/v1',
      kind: 'AuthorizationPolicy',
      metadata: { name: `policy-${index}`, namespace: inRoot ? 'istio-system' : 'shop' },
      spec: {
        ...maybe(random, 0.4, 'selector', () => ({ matchLabels: { app: pick(random, ['orders', 'web']) } })),
        action: pick(random, ['ALLOW', 'ALLOW', 'DENY', 'DENY', 'AUDIT', 'CUSTOM']),
        ...maybe(random, 1, 'provider', () => ({ name: 'opa' })),
        ...maybe(random, 0.95, 'rules', () => some(random, () => rule(random))),
      },
    });
  }
  for (const issuer of ISSUERS.slice(0, Math.floor(random() * 3)))
    objects.push({
      apiVersion: 'security.istio.io/v1',
      kind: 'RequestAuthentication',
      metadata: { name: `tokens-${ISSUERS.indexOf(issuer)}`, namespace: 'shop' },
      spec: { jwtRules: [{ issuer, jwks: '{}', ...maybe(random, 0.4, 'audiences', () => ['meshpass']) }] },
    });
  if (random() < 0.4)
    objects.push({
      apiVersion: 'security.istio.io/v1',
      kind: 'PeerAuthentication',
      metadata: { name: 'default', namespace: 'shop' },
      spec: { mtls: { mode: pick(random, ['STRICT', 'PERMISSIVE']) } },
    });
  return objects.flatMap((object) => [...loadObject(object, 'random').resources]);
}

function service(name: string): object {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace: 'shop' },
    spec: {
      selector: { app: name },
      ports: [
        { name: 'http', port: 80, targetPort: 8080 },
        { name: 'tcp', port: 90, targetPort: 9090 },
      ],
    },
  };
}

/** Returns a call that may or may not match such rules; without mutual TLS it has no SNI. */
export function randomCall(random: Random): Call {
  const peer = random() < 0.85;
  const token = random() < 0.6;
  const near = (word: string) => (random() < 0.15 ? `${word}x` : word);
  const texts = new Map<string, string>([
    ['peer.namespace', near(pick(random, NAMESPACES))],
    ['peer.account', near(pick(random, ACCOUNTS))],
    ['peer.trustDomain', near(pick(random, DOMAINS))],
    ['method', pick(random, METHODS)],
    ['path', near(pick(random, PATHS))],
    ['host', near(pick(random, HOSTS).toLowerCase())],
  ]);
  if (peer && random() < 0.9) texts.set('connection.sni', near(pick(random, SNIS)));
  if (random() < 0.5) texts.set('header:x-team', near(pick(random, CLAIMS)));
  if (token) {
    texts.set('token.issuer', near(pick(random, ISSUERS)));
    if (random() < 0.95) texts.set('token.subject', near(pick(random, SUBJECTS)));
  }
  const lists = new Map<string, readonly string[]>();
  if (token && random() < 0.7)
    lists.set(
      'token.claim:groups',
      some(random, () => near(pick(random, CLAIMS))),
    );
  if (token && random() < 0.7)
    lists.set(
      'token.claim:aud',
      some(random, () => pick(random, ['meshpass', 'mesh', 'x'])),
    );
  const flags = new Set<string>(peer ? ['peer'] : []);
  if (random() < 0.3) flags.add('custom:opa');
  if (random() < 0.1) flags.add('unverified:header authorization');
  const addresses = new Map([
    ['source.ip', pick(random, IPS)],
    ['remote.ip', pick(random, IPS)],
  ]);
  return { flags, texts, lists, addresses };
}
