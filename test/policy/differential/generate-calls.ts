/** Calls that meet the generated policies: peers, addresses, paths, hosts, headers, and tokens good and bad. */
import type { Call, CallToken } from '@meshpass/analysis/evaluate';
import type { World } from './generate-policies.ts';
import type { Random } from './random.ts';
import { PORTS } from './target.ts';

export const PEERS = [
  'cluster.local/ns/shop/sa/client',
  'cluster.local/ns/dev/sa/web',
  'cluster.local/ns/dev/sa/web-admin',
  'cluster.local/ns/shop/sa/orders',
  'cluster.local/ns/shop-2/sa/client',
  'cluster.local/ns/dev/k/v/sa/web/x',
] as const;

/** Paths as clients send them: plain, strange and hostile. */
export const PATHS = [
  ...[
    '/',
    '/a',
    '/a/b',
    '/a/b/c',
    '/a/',
    '/A',
    '/b',
    '/a/c',
    '/a/b/c/d',
    '/x/b',
    '/a.txt',
    '/a/b=c',
    '/a/b?q=1',
    '/a?x=/b',
  ],
  ...[
    '//a',
    '/a//b',
    '/a/./b',
    '/a/../b',
    '/a/%2e%2e/b',
    '/a/.%2E/b',
    '/%61',
    '/a%2Fb',
    '/a%2fb',
    '/a%5Cb',
    '/a\\b',
    '/a/..',
  ],
  ...[
    '/a;x=1',
    '/a/b%20c',
    '/a/%7Bx%7D',
    '/a/b/../../c',
    '/a%zz',
    '/a/%C3%A9',
    '/a/[x]',
    '/a/b|c',
    '/a/{x}',
    '/a/%00',
    '/a/%',
    '/a^b',
    "/a/'b'",
  ],
  ...[
    '/a/../../b',
    '/a/b/.',
    '/../a',
    '/%2561',
    '/%2e/a',
    '/a/%2F/b',
    '/c/%2E%2E%2Fa',
    '/a/*',
    '/a/~b',
    '/a/"b"',
    '/a/<b>',
    '/a/`b`',
  ],
];
const AUTHORITIES = ['orders.shop', 'orders.shop:7000', 'ORDERS.shop', 'admin.orders.shop', 'orders', 'x.shop:7000'];
const METHODS = ['GET', 'GET', 'POST', 'PUT', 'OPTIONS', 'PATCH'];
const FORWARDED = [
  '198.51.100.7',
  '198.51.100.7, 192.0.2.9',
  '192.0.2.9,198.51.100.7',
  '2001:db8::7',
  'nonsense',
  '10.1.2.3',
];

const SNIS = [
  ...['orders.shop', 'other', 'x.shop', 'outbound_.80_._.orders.shop', 'outbound_.80_.v1_.orders.shop'],
  ...['outbound_.8080_.v1_.orders.shop', 'outbound_.80_.v1_.web.dev', 'outbound_.80_.v1_.x-orders.shop'],
  // It begins like the names of one port and ends like those of one host, where both overlap.
  'outbound_.80_.orders.shop',
];

export async function generateCall(random: Random, world: World): Promise<Call> {
  const port = random.pick([PORTS.http, PORTS.http, PORTS.http, PORTS.tcp, PORTS.undeclared, PORTS.unknown]);
  const undeclared = port === PORTS.undeclared || port === PORTS.unknown;
  const speaksHttp = port === PORTS.http || random.chance(0.6);
  const principal = random.chance(0.85) ? random.pick(PEERS) : undefined;
  const tokens: CallToken[] = [];
  const http = speaksHttp ? await httpOf(random, world, tokens) : undefined;
  return {
    ...(principal && { principal }),
    sourceIp: random.pick(world.addresses),
    destinationIp: world.destination,
    port,
    ...(principal && random.chance(0.8) && { sni: random.pick(SNIS) }),
    ...(http && { http }),
    // In plain text the first bytes tell.
    ...(undeclared && principal && http && random.chance(0.25) && { announces: 'tcp' as const }),
    ...(tokens.length > 0 && { tokens }),
    now: Math.floor(Date.now() / 1000),
  };
}

async function httpOf(random: Random, world: World, tokens: CallToken[]): Promise<NonNullable<Call['http']>> {
  const headers: Record<string, string> = {};
  let path = random.pick(PATHS);
  if (random.chance(0.3)) headers['x-colour'] = random.pick(['red', 'x', 'xy', 'y', 'a']);
  if (random.chance(0.2)) headers['x-forwarded-for'] = random.pick(FORWARDED);
  if (random.chance(0.1)) headers['x-sub'] = random.pick(['alice', 'mallory']);
  if (random.chance(0.05)) Object.assign(headers, { origin: 'https://o.test', 'access-control-request-method': 'GET' });
  for (let left = random.pick([0, 0, 1, 1, 1, 1, 2]); left > 0; left--) {
    const token = await tokenOf(random, world);
    tokens.push(token);
    const place = random.below(12);
    const inQuery = (name: string) => {
      path += `${path.includes('?') ? '&' : '?'}${name}=${token.text}`;
    };
    if (place < 6) headers.authorization = `Bearer ${token.text}`;
    else if (place === 6) headers['x-token'] = token.text;
    else if (place === 7) headers['x-token'] = `Token ${token.text}`;
    else if (place === 8) inQuery('access_token');
    else if (place === 9) inQuery('token');
    else if (place === 10) headers.cookie = `theme=dark; session=${token.text}`;
    else headers['x-other'] = token.text;
  }
  return { method: random.pick(METHODS), path, authority: random.pick(AUTHORITIES), headers };
}

async function tokenOf(random: Random, world: World): Promise<CallToken> {
  if (random.chance(0.05)) return { text: random.pick(['garbage', 'a.b.c', '..', 'eyJhbGciOiJub25lIn0.e30.']) };
  const issuer = random.pick(world.issuers);
  const now = Math.floor(Date.now() / 1000);
  const claims: Record<string, unknown> = {
    iss: random.chance(0.9) ? issuer.name : random.pick(['https://unknown.test', 'https://a.test/', 7]),
    ...(random.chance(0.93) && { sub: random.pick(['alice', 'alice', 'bob', 'al', 'te/am', '']) }),
    ...(random.chance(0.8) && {
      aud: random.pick<unknown>(['shop', ['shop'], ['dev', 'x'], 'dev', 'ops.test', 'http://shop', []]),
    }),
    ...(random.chance(0.3) && { azp: random.pick(['x', 'xy', 'alice']) }),
    ...(random.chance(0.4) && { groups: random.pick<unknown>([['staff', 'x'], ['xy'], 'staff', [], [7, 'a']]) }),
    ...(random.chance(0.3) && { scope: random.pick(['read write', 'read', 'x  y', '']) }),
    ...(random.chance(0.2) && { permission: 'read a' }),
    ...(random.chance(0.3) && { tags: random.pick<unknown>(['x y', ['x'], 'a']) }),
    ...(random.chance(0.4) && {
      org: random.pick<unknown>([{ team: 'x', roles: ['a', 'b'] }, { team: ['staff'] }, 'x', { team: 'red' }]),
    }),
    ...(random.chance(0.3) && { level: random.pick<unknown>([7, 1.5, true, '7', -2]) }),
    ...(random.chance(0.2) && { 'a.b': 'x' }),
    ...(random.chance(0.93) ? { exp: now + 3600 } : random.pick([{ exp: now - 3600 }, { nbf: now + 3600 }, {}])),
  };
  const genuine = random.chance(0.93);
  const text = await issuer.sign(claims);
  if (genuine) return { text, claims };
  const [head, body, signature] = text.split('.') as [string, string, string];
  const flipped = (signature[5] === 'A' ? 'B' : 'A') + signature.slice(6);
  return { text: `${head}.${body}.${signature.slice(0, 5)}${flipped}`, claims, genuine: false };
}
