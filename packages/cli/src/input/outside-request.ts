/** Requests of clients outside the mesh, from flags. */
import type { OutsideRequest } from '@meshpass/analysis/evaluate';
import { MeshpassError } from '@meshpass/identity/error';
import type { RequestFlags } from './request.ts';
import { requestOf } from './request.ts';

interface Outside {
  readonly url: string;
  readonly claims: Readonly<Record<string, unknown>> | undefined;
  /** Principal of a client certificate that the gateway trusts. */
  readonly certificate: string | undefined;
}

/**
 * Builds a request to a gateway from a URL and flags. The token is sent as a bearer token.
 * @throws MeshpassError `usage`
 */
export function outsideRequestOf(flags: RequestFlags, { url, claims, certificate }: Outside): OutsideRequest {
  const { isSecure, name, host, port, path } = parseUrl(url);
  if (certificate !== undefined && !isSecure)
    throw new MeshpassError('usage', '--certificate requires a URL with https.');
  const { http, more } = requestOf(path === undefined ? flags : { ...flags, path });
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

/** Splits a URL without normalizing its path. */
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
