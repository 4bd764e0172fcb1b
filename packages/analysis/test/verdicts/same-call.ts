/** Converts calls of diff to calls of the evaluator. */

import { type MeshConfig, trustedPeerDomains } from '@meshpass/istio';
import type { Call as DiffCall } from '../../src/diff/formula/call.ts';
import type { TokenLocations } from '../../src/diff/token-condition.ts';
import type { Call } from '../../src/evaluate/call.ts';
import { normalizePath } from '../../src/evaluate/rule/path.ts';
import { pick, type Random, randomCall } from '../diff/random-policies.ts';

const GOOD = 'good.good.good';

/**
 * Converts a call.
 * @param spoken protocol of the client
 * @param places locations of valid tokens
 * @returns undefined for a call that cannot exist as described: a valid and an invalid token in one location, a peer
 *   that the mesh does not trust, a path that Envoy would change
 */
export function asCall(
  told: DiffCall,
  port: number,
  spoken: 'http' | 'tcp',
  places: TokenLocations,
  config: MeshConfig,
): Call | undefined {
  const { texts, flags, addresses } = told;
  const domain = texts.get('peer.trustDomain') ?? config.trustDomain;
  const mutual = flags.has('peer');
  if (mutual && !trustedPeerDomains(config).includes(domain)) return undefined;
  if (!mutual && (texts.get('connection.sni') ?? '') !== '') return undefined;
  const principal = `${domain}/ns/${texts.get('peer.namespace') ?? 'zz'}/sa/${texts.get('peer.account') ?? 'zz'}`;
  const external: Record<string, boolean> = {};
  for (const name of ['opa', 'other', '']) external[name] = flags.has(`custom:${name}`);
  const http = spoken === 'http' ? httpOf(told, places, config) : null;
  if (http === undefined) return undefined;
  return {
    ...(mutual && { principal }),
    port,
    external,
    announces: spoken,
    sourceIp: addresses.get('source.ip') ?? '198.51.100.1',
    remoteIp: addresses.get('remote.ip') ?? '198.51.100.1',
    ...(texts.has('connection.sni') && { sni: texts.get('connection.sni')! }),
    ...http,
  };
}

function httpOf(
  { texts, lists, flags }: DiffCall,
  places: TokenLocations,
  config: MeshConfig,
): Pick<Call, 'http' | 'tokens'> | undefined {
  const headers: Record<string, string> = {};
  for (const [field, value] of texts) if (field.startsWith('header:')) headers[field.slice('header:'.length)] = value;
  for (const flag of flags) {
    const [, header] = /^unverified:header (.+)$/.exec(flag) ?? [];
    if (header !== undefined) headers[header] = header === 'authorization' ? 'Bearer bad' : 'bad';
  }
  const parameters = [...flags].flatMap((flag) => /^unverified:parameter (.+)$/.exec(flag)?.[1] ?? []);
  const issuer = texts.get('token.issuer');
  const claims: Record<string, unknown> = { iss: issuer, sub: texts.get('token.subject') };
  for (const [field, values] of lists) nest(claims, field.slice('token.claim:'.length).split(']['), values);
  const query = new Map(parameters.map((name) => [name, 'bad']));
  // A token of an issuer without a rule has no location.
  for (const place of places.get(issuer ?? '') ?? []) {
    const [where, name] = place.split(' ') as [string, string];
    if (where === 'header') headers[name] ??= name === 'authorization' ? `Bearer ${GOOD}` : GOOD;
    else if (!query.has(name)) query.set(name, GOOD);
  }
  const path = texts.get('path') ?? '/';
  if (normalizePath(path, config.pathNormalization) !== path || path.includes('?')) return undefined;
  return {
    http: {
      method: texts.get('method') ?? 'GET',
      path: query.size > 0 ? `${path}?${new URLSearchParams([...query])}` : path,
      authority: texts.get('host') ?? 'zz',
      headers,
    },
    tokens: [{ text: GOOD, claims: JSON.parse(JSON.stringify(claims)) }],
  };
}

/** Returns a random call that can exist: the mesh trusts its peer, and no two tokens share a location. */
export function randomTold(random: Random, config: MeshConfig): DiffCall {
  const call = randomCall(random);
  const texts = new Map(call.texts);
  const flags = new Set(call.flags);
  texts.set('peer.trustDomain', pick(random, trustedPeerDomains(config)));
  if (texts.has('token.issuer')) flags.delete('unverified:header authorization');
  return { ...call, texts, flags };
}

function nest(claims: Record<string, unknown>, [first, ...rest]: readonly string[], values: readonly string[]): void {
  if (first === undefined) return;
  if (rest.length === 0) {
    claims[first] = values;
    return;
  }
  claims[first] ??= {};
  nest(claims[first] as Record<string, unknown>, rest, values);
}
