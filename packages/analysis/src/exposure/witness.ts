/** Finds an example of an anonymous request that is allowed through an entry point. */

import type { HttpMatch, MeshView } from '@meshpass/istio';
import { record } from '@meshpass/istio/members';
import type { Call } from '../diff/formula/call.ts';
import type { EntryPoint, Exposure } from './exposure.ts';
import { type EnforcementPoint, entryEnforcementPoints, workloadEnforcementPoints } from './identity.ts';
import { findAllowedCall } from './unauthenticated.ts';

export interface WitnessRequest {
  /** The HTTP method, or `CONNECT` for a connection that is not HTTP. */
  readonly method: string;
  /** The URL, without a default port. Wildcards are replaced by an example, and an unknown host by `HOST`. */
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
}

/**
 * Finds a request that the policies at the entry point allow. Anything those policies leave open is chosen to satisfy
 * the policies at the workload. Returns undefined if the route requires a value that matches a regular expression,
 * because no example of such a value is known.
 */
export function witnessRequest(mesh: MeshView, exposure: Exposure, entry: EntryPoint): WitnessRequest | undefined {
  if (exposure.protocol !== 'http') return connectionTo(exposure, entry);
  const match = exposure.matches.length === 0 ? {} : exposure.matches.find(isLiteral);
  if (!match || !isLiteral({ headers: givenHeaders(exposure) })) return undefined;
  const one = { ...exposure, matches: [match] };
  const texts = new Map<string, string>([
    ...(exposure.rewrite(match).path === undefined ? textsOf(workloadEnforcementPoints(mesh, one, entry)) : []),
    ...textsOf(entryEnforcementPoints(mesh, one, entry).flat()),
  ]);
  const uri = match.uri ?? {};
  const path = texts.get('path') ?? uri.exact ?? uri.prefix ?? '/';
  const authority = texts.get('host') ?? exampleHost(exposure.hosts[0]);
  const host = entry.serverName ?? authority.replace(/:\d+$/, '');
  const headers = { ...givenHeaders(exposure), ...match.headers };
  return {
    method: texts.get('method') ?? match.method?.exact ?? 'GET',
    url: `${originOf(host, entry)}${path}${queryOf(match)}`,
    headers: { ...(host !== authority && { host: authority }), ...entry.headers, ...headersOf({ headers }, texts) },
  };
}

/**
 * Returns the headers that get a call past earlier routes. If a header only has to be present, its value is arbitrary.
 */
function givenHeaders({ unrefused }: Exposure): NonNullable<HttpMatch['headers']> {
  const entries = Object.entries(unrefused ?? {});
  return Object.fromEntries(
    entries.map(([name, value]) => [name, value.regex === '.+' || value.regex === '.*' ? {} : value]),
  );
}

function textsOf(points: readonly EnforcementPoint[]): readonly (readonly [string, string])[] {
  for (const { portPolicy, calls } of points) {
    const call: Call | string = findAllowedCall(portPolicy, calls);
    if (typeof call === 'object') return [...call.texts];
  }
  return [];
}

/** Checks whether a match contains no regular expressions. */
function isLiteral({ uri, method, headers, queryParams }: HttpMatch): boolean {
  return [uri, method, ...Object.values(record(headers)), ...Object.values(record(queryParams))].every(
    (one) => record(one).regex === undefined,
  );
}

function connectionTo({ hosts }: Exposure, entry: EntryPoint): WitnessRequest {
  return { method: 'CONNECT', url: originOf(exampleHost(hosts[0]), entry).replace(/^https?/, 'tcp'), headers: {} };
}

function exampleHost(host = '*'): string {
  return host === '*' ? 'HOST' : host.replace(/^\*/, 'x');
}

function originOf(host: string, { ports }: EntryPoint): string {
  const [{ number, protocol } = { number: undefined, protocol: undefined }] = ports;
  const tls = protocol === undefined ? number === 443 : /^(?:HTTPS|TLS)$/.test(protocol);
  const suffix = number === undefined || number === (tls ? 443 : 80) ? '' : `:${number}`;
  return `${tls ? 'https' : 'http'}://${host}${suffix}`;
}

function queryOf({ queryParams }: HttpMatch): string {
  const given = Object.entries(queryParams ?? {}).map(
    ([name, value]) => `${name}=${value.exact ?? value.prefix ?? ''}`,
  );
  return given.length === 0 ? '' : `?${given.join('&')}`;
}

function headersOf({ headers }: HttpMatch, texts: ReadonlyMap<string, string>): Readonly<Record<string, string>> {
  const needed = Object.entries(headers ?? {}).map(
    ([name, value]) => [name, value.exact ?? value.prefix ?? 'x'] as const,
  );
  const found = [...texts].flatMap(([field, value]) =>
    field.startsWith('header:') ? [[field.slice('header:'.length), value] as const] : [],
  );
  return Object.fromEntries([...needed, ...found]);
}
