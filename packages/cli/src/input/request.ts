/** Parses requests and claims from command-line flags. */
import { isIP } from 'node:net';
import type { Call, HttpCall, OutsideRequest } from '@meshpass/analysis/evaluate';
import { MeshpassError, parseJson } from '@meshpass/identity';
import { list, type OptionsOf, text, toggle } from '../command/flag.ts';
import { readTextFile } from './files.ts';

/** The flags that describe the call to evaluate. */
export const requestFlags = {
  method: text('<method>', 'HTTP method', { default: 'GET' }),
  path: text('<path>', 'path as the client sends it', { default: '/' }),
  host: text('<host>', 'Host header', { defaultText: 'the host of the target' }),
  header: list('<line>', 'header of the request, "NAME: VALUE"'),
  tcp: toggle('treat the call as a connection without HTTP'),
  sourceIp: text('<address>', 'IP address of the peer'),
  sni: text('<name>', 'server name of the TLS handshake'),
};
export type RequestFlags = OptionsOf<typeof requestFlags>;

type Request = (Omit<HttpCall, 'authority'> & { readonly authority?: string }) | undefined;

/**
 * Builds a request from flags.
 * @throws MeshpassError `usage`
 */
export function buildRequest(flags: RequestFlags): { readonly http: Request; readonly more: Partial<Call> } {
  const { method, path, host, header, tcp, sourceIp, sni } = flags;
  if (!path.startsWith('/')) throw new MeshpassError('usage', '--path must begin with "/".');
  if (sourceIp !== undefined && (isIP(sourceIp) === 0 || sourceIp.includes('%')))
    throw new MeshpassError('usage', `--source-ip must be an IPv4 or IPv6 address, not ${JSON.stringify(sourceIp)}.`);
  const http = { method, path, headers: parseHeaders(header), ...(host !== undefined && { authority: host }) };
  return {
    http: tcp ? undefined : http,
    more: { ...(sourceIp !== undefined && { sourceIp }), ...(sni !== undefined && { sni }) },
  };
}

/**
 * Parses header lines of the form `NAME: VALUE`.
 * @throws MeshpassError `usage`
 */
export function parseHeaders(lines: readonly string[]): Readonly<Record<string, string>> {
  return Object.fromEntries(
    lines.map((line) => {
      const [, name, value] = /^([^:\s]+):\s*(.*)$/.exec(line) ?? [];
      if (name === undefined)
        throw new MeshpassError('usage', `--header must be "NAME: VALUE", not ${JSON.stringify(line)}.`);
      return [name.toLowerCase(), value!];
    }),
  );
}

/**
 * Parses claims from JSON, or from a file if the value has the form `@FILE`.
 * @throws MeshpassError `usage`
 */
export function parseClaims(given: string | undefined): Readonly<Record<string, unknown>> | undefined {
  if (given === undefined) return undefined;
  const claims = parseJson(given.startsWith('@') ? readTextFile(given.slice(1), '--claims') : given);
  if (typeof claims === 'object' && claims !== null && !Array.isArray(claims)) return claims as Record<string, unknown>;
  throw new MeshpassError('usage', '--claims must be a JSON object, or @FILE containing one.');
}

interface Outside {
  readonly url: string;
  readonly claims: Readonly<Record<string, unknown>> | undefined;
  /** The principal in a client certificate that the gateway trusts. */
  readonly certificate: string | undefined;
}

/**
 * Builds a request to a gateway from a URL and flags. The claims are sent in a bearer token.
 * @throws MeshpassError `usage`
 */
export function buildOutsideRequest(flags: RequestFlags, { url, claims, certificate }: Outside): OutsideRequest {
  const { isSecure, name, host, port, path } = parseUrl(url);
  if (certificate !== undefined && !isSecure)
    throw new MeshpassError('usage', '--certificate requires a URL with https.');
  const { http, more } = buildRequest(path === undefined ? flags : { ...flags, path });
  const token = claims && { text: 'caller-token', claims };
  const bearer = token && { authorization: `Bearer ${token.text}` };
  const trusted = certificate !== undefined && { certificate: { trusted: true, principal: certificate } };
  return {
    port,
    ...(isSecure && { tls: { sni: more.sni ?? name, ...trusted } }),
    ...(http && { http: { ...http, authority: http.authority ?? host, headers: { ...http.headers, ...bearer } } }),
    ...(more.sourceIp !== undefined && { sourceIp: more.sourceIp }),
    ...(token && { tokens: [token] }),
  };
}

/** Splits a URL into its parts without normalizing the path. */
function parseUrl(url: string) {
  const [, scheme, name, port, path] = /^(https?):\/\/([^/?#:@\s]+)(?::(\d{1,5}))?([/?][^#\s]*)?$/.exec(url) ?? [];
  if (scheme === undefined || name === undefined)
    throw new MeshpassError('usage', `--to must be a URL if the caller is outside, not ${JSON.stringify(url)}.`);
  const isSecure = scheme === 'https';
  return {
    isSecure,
    name,
    host: port === undefined ? name : `${name}:${port}`,
    port: Number(port ?? (isSecure ? 443 : 80)),
    path: path?.replace(/^(?=\?)/, '/'),
  };
}
