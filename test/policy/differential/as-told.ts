/** A call as `diff` tells it, out of one that was made: so that formulas can be asked what Envoy did with it. */

import type { Call as ToldCall } from '@meshpass/analysis/diff';
import { type Call, type CallToken, normalizePath } from '@meshpass/analysis/evaluate';
import type { TokenLocations } from '../../../packages/analysis/src/diff/token-condition.ts';
import { CallFacts } from '../../../packages/analysis/src/evaluate/facts.ts';
import { withoutQuery } from '../../../packages/analysis/src/evaluate/rule/path.ts';

const SPACED = ['scope', 'permission', 'tags'];
/** Headers that a RequestAuthentication writes or removes are not part of a difference. */
const WRITTEN = ['x-sub', 'x-payload', 'authorization'];

/**
 * @param as what Envoy takes it for: of a connection it looks neither at a method nor at headers, `x-forwarded-for` among them
 * @param places where tokens stand that verify, by issuer
 * @param headersAsked names that conditions of policies look at
 * @returns undefined for a call that diff has no words for: two tokens that verify, one that stands in some of its places only, a claim
 *   of mixed types, a peer whose id has other parts, a preflight
 */
export function asTold(
  call: Call,
  as: 'http' | 'tcp',
  places: TokenLocations,
  prefixes: ReadonlyMap<string, ReadonlySet<string>>,
  headersAsked: ReadonlySet<string>,
): ToldCall | undefined {
  const texts = new Map<string, string>();
  const flags = new Set<string>();
  const lists = new Map<string, readonly string[]>();
  const addresses = new Map([
    ['source.ip', call.sourceIp ?? ''],
    ['destination.ip', call.destinationIp ?? ''],
  ]);
  if (call.principal !== undefined) {
    const [domain, ns, namespace, sa, account, ...rest] = call.principal.split('/') as [
      string,
      string,
      string,
      string,
      string,
    ];
    if (ns !== 'ns' || sa !== 'sa' || rest.length > 0) return undefined;
    flags.add('peer');
    texts.set('peer.trustDomain', domain).set('peer.namespace', namespace).set('peer.account', account);
    if (call.sni !== undefined) texts.set('connection.sni', call.sni);
  }
  const http = as === 'http' ? call.http : undefined;
  const path = http && normalizePath(http.path, 'BASE');
  if (http && path === undefined) return undefined;
  addresses.set('remote.ip', new CallFacts(call, call.principal ?? '', '', http, path ?? '').remoteIp ?? '');
  if (http) {
    const { method, authority, headers = {} } = http;
    if (method === 'OPTIONS' && headers.origin) return undefined;
    texts.set('method', method).set('path', withoutQuery(path!)).set('host', authority.toLowerCase());
    texts.set('header::method', method).set('header:host', authority);
    for (const [name, value] of Object.entries(headers)) texts.set(`header:${name}`, value);
    const touched = (call.tokens?.length ?? 0) > 0 || WRITTEN.some((name) => headers[name] !== undefined);
    if (touched && WRITTEN.some((name) => headersAsked.has(name))) return undefined;
    if (!tellTokens(call, http, places, prefixes, { texts, flags, lists })) return undefined;
  }
  return { flags, texts, lists, addresses };
}

interface Told {
  readonly texts: Map<string, string>;
  readonly flags: Set<string>;
  readonly lists: Map<string, readonly string[]>;
}

/** @returns false if `diff` cannot describe it */
function tellTokens(
  call: Call,
  http: NonNullable<Call['http']>,
  places: TokenLocations,
  prefixes: ReadonlyMap<string, ReadonlySet<string>>,
  told: Told,
): boolean {
  let good: CallToken | undefined;
  const stands = new Set<string>();
  for (const place of new Set([...places.values()].flatMap((some) => [...some]))) {
    const name = place.split(' ')[1]!;
    const looked = place.startsWith('header') ? prefixes.get(name) : undefined;
    const value = looked && http.headers?.[name];
    if (value !== undefined && looked) {
      // Rules that read the same header in two ways may get different values.
      if (looked.size > 1) return false;
      if (![...looked].every((prefix) => value.startsWith(prefix))) {
        if ([...looked].every((prefix) => !value.includes(prefix))) continue;
        return false;
      }
    }
    const found = textAt(http, place);
    if (found === undefined) continue;
    const token = call.tokens?.find(({ text }) => text === found);
    const issuer = token && verifies(token, call.now ?? 0) ? (token.claims!.iss as string) : undefined;
    if (issuer === undefined || !places.get(issuer)?.has(place)) {
      told.flags.add(`unverified:${place}`);
      continue;
    }
    if (good && good !== token) return false;
    good = token;
    stands.add(place);
  }
  if (!good) return true;
  const { iss, sub, ...claims } = good.claims as Readonly<Record<string, unknown>>;
  for (const place of places.get(iss as string)!)
    if (!stands.has(place) && !told.flags.has(`unverified:${place}`)) return false;
  told.texts.set('token.issuer', iss as string);
  if (typeof sub === 'string') told.texts.set('token.subject', sub);
  return Object.entries(claims).every(([name, value]) => tellClaim([name], value, told));
}

function tellClaim(path: readonly string[], value: unknown, told: Told): boolean {
  if (typeof value === 'string') {
    const values = path.length === 1 && SPACED.includes(path[0]!) ? value.split(' ').filter(Boolean) : [value];
    told.lists.set(`token.claim:${path.join('][')}`, values);
    return true;
  }
  if (Array.isArray(value)) {
    if (!value.every((one) => typeof one === 'string')) return false;
    told.lists.set(`token.claim:${path.join('][')}`, value as readonly string[]);
    return true;
  }
  if (typeof value !== 'object' || value === null) return true;
  return Object.entries(value).every(([name, inner]) => tellClaim([...path, name], inner, told));
}

function textAt({ headers = {}, path }: NonNullable<Call['http']>, place: string): string | undefined {
  const [kind, name] = place.split(' ') as [string, string];
  if (kind === 'header') {
    const value = headers[name];
    // With or without a prefix, other text is no token that verifies.
    return value === undefined ? undefined : value.replace(/^(?:Bearer|Token) /, '');
  }
  if (kind === 'parameter') return new URLSearchParams(path.split('?')[1] ?? '').get(name) ?? undefined;
  const cookie = headers.cookie?.split(';').find((pair) => pair.trim().startsWith(`${name}=`));
  return cookie?.trim().slice(name.length + 1);
}

function verifies({ claims, genuine }: CallToken, now: number): boolean {
  if (!claims || genuine === false || typeof claims.iss !== 'string') return false;
  const { exp, nbf } = claims as { readonly exp?: number; readonly nbf?: number };
  return !(exp !== undefined && now > exp + 60) && !(nbf !== undefined && now + 60 < nbf);
}
