/** Random calls from outside, near the boundaries of the generated routes and policies. */
import type { CallToken, OutsideRequest } from '@meshpass/analysis/evaluate';
import type { Random } from '../differential/random.ts';
import { HOSTS, METHODS, PATHS, PORT, TEAMS, type World } from './generate.ts';

export const CLIENT = 'cluster.local/ns/shop/sa/client';

const AUTHORITIES = [...HOSTS, ...HOSTS, ...HOSTS, 'c.test', 'A.test', 'test', 'other.example'] as const;
const MORE_PATHS = [
  '/a//b',
  '/a/../b',
  '/%61',
  '/a;v=1',
  '/./a',
  '/a/..',
  '/a..',
  '/a../b',
  '//a',
  '/b/12',
  '/moved',
] as const;
const QUERIES = ['', '', '', '?v=1', '?v=2&w=1', '?v', '?w=1&v=12', '?v=1&v=2', '?V=1'] as const;
const FORWARDED = ['192.0.2.7', '198.51.100.4, 10.0.0.1', 'unknown', '10.1.1.1'] as const;

async function token(random: Random, { issuers }: World): Promise<CallToken> {
  const issuer = random.pick(issuers);
  const claims = {
    iss: issuer.name,
    sub: random.pick(['bob', 'alice']),
    ...(random.chance(0.6) && { aud: random.pick(['shop', 'other']) }),
  };
  const text = await issuer.sign(claims);
  if (random.chance(0.15)) return { text: `${text.slice(0, -6)}AAAAAA`, claims, genuine: false };
  return { text, claims };
}

export async function generateCall(random: Random, world: World): Promise<OutsideRequest> {
  const secure = random.chance(0.25);
  const authority = random.pick(AUTHORITIES) + (random.chance(0.08) ? random.pick([':8081', ':80', ':8443']) : '');
  const sent = random.chance(0.3) ? await token(random, world) : undefined;
  const headers = {
    ...(random.chance(0.4) && { 'x-team': random.pick(TEAMS) }),
    ...(random.chance(0.15) && { 'x-forwarded-for': random.pick(FORWARDED) }),
    ...(random.chance(0.05) && { 'x-forwarded-proto': 'https' }),
    ...(sent && { authorization: `Bearer ${sent.text}` }),
  };
  const path = (random.chance(0.8) ? random.pick(PATHS) : random.pick(MORE_PATHS)) + random.pick(QUERIES);
  const certificate = random.pick([undefined, undefined, { trusted: true, principal: CLIENT }, { trusted: false }]);
  const sni = random.chance(0.8) ? authority.replace(/:\d+$/, '') : random.pick([undefined, ...HOSTS]);
  const crossed = random.chance(0.04);
  return {
    port: secure !== crossed ? PORT.https : PORT.http,
    ...(secure && { tls: { ...(sni !== undefined && { sni }), ...(certificate && { certificate }) } }),
    http: { method: random.pick(METHODS), path, authority, headers },
    sourceIp: random.pick(world.addresses),
    ...(sent && { tokens: [sent] }),
  };
}
