/**
 * Represents a request from a client outside the mesh, including the changes that a gateway makes before it applies
 * policies and routes.
 */
import type { PathNormalization } from '@meshpass/istio';
import { parseAddress } from '../../address.ts';
import type { Call as FormulaCall } from '../../diff/formula/call.ts';
import type { CallToken, HttpCall } from '../../evaluate/call.ts';
import { normalizePath, withoutQuery } from '../../evaluate/rule/path.ts';

/** The certificate that a client presents to the gateway. */
export interface ClientCertificate {
  /**
   * Whether the certificate can be verified with the gateway's `credentialName` or `caCertificates`, or with the mesh's
   * root certificates.
   */
  readonly trusted: boolean;
  /** The principal, such as `cluster.local/ns/shop/sa/web`, if the certificate's URI is a SPIFFE ID. */
  readonly principal?: string;
}

export interface OutsideRequest {
  /**
   * The port of the Service in front of the gateway. If no such Service is known, the port of the Gateway's server or
   * listener.
   */
  readonly port: number;
  /** The details of the TLS connection. Undefined for plain text. */
  readonly tls?: { readonly sni?: string; readonly certificate?: ClientCertificate };
  /** The HTTP request. Undefined for connections that do not use HTTP. */
  readonly http?: HttpCall;
  /** The IP address of the client, as the gateway sees it. */
  readonly sourceIp?: string;
  readonly tokens?: readonly CallToken[];
  /** The current time in Unix seconds, for checking `exp` and `nbf`. If undefined, both claims are ignored. */
  readonly now?: number;
}

/** An HTTP request after the gateway's connection manager has processed it. */
export interface ReceivedRequest {
  readonly http: HttpCall;
  /** The IP address of the client behind any trusted proxies. */
  readonly remoteIp: string | undefined;
  /** The request in the form that is needed to evaluate route conditions. */
  readonly call: FormulaCall;
  /** The fields whose values are unknown, with the reasons. */
  readonly unknownFields: ReadonlyMap<string, string>;
}

/** Matches headers that gateways generate or replace, so their values cannot be derived from the request. */
export const GATEWAY_GENERATED_HEADERS =
  /^(?:x-request-id|x-envoy-.*|x-b3-.*|b3|traceparent|tracestate|x-forwarded-client-cert|x-forwarded-host|x-ot-span-context|forwarded)$/;

/**
 * Applies the gateway's own changes to the headers, and splits the request into the fields that formulas test.
 * @returns the request, or undefined if Envoy rejects the path with status 400
 */
export function receive(
  http: HttpCall,
  { sourceIp, tls }: Pick<OutsideRequest, 'sourceIp' | 'tls'>,
  normalization: PathNormalization,
  trustedProxies: number,
): ReceivedRequest | undefined {
  const path = normalizePath(http.path, normalization);
  if (path === undefined) return undefined;
  const given = http.headers ?? {};
  const hops = (given['x-forwarded-for'] ?? '').split(',').map((one) => one.trim());
  const forwarded = given['x-forwarded-for'] === undefined ? sourceIp : `${given['x-forwarded-for']},${sourceIp}`;
  const keepsProtocol = trustedProxies > 0 && given['x-forwarded-proto'] !== undefined;
  const headers = {
    ...given,
    ...(sourceIp !== undefined && { 'x-forwarded-for': forwarded! }),
    ...(!keepsProtocol && { 'x-forwarded-proto': tls ? 'https' : 'http' }),
  };
  const sent = { ...http, path, headers };
  return {
    http: sent,
    remoteIp: trustedAddress(hops, trustedProxies) ?? sourceIp,
    call: formulaCall(sent),
    unknownFields: unknownFields(sent, sourceIp),
  };
}

/**
 * Returns the client address that the trusted proxies report. Source: Envoy's documentation of "x-forwarded-for" with
 * `use_remote_address`.
 */
function trustedAddress(hops: readonly string[], trustedProxies: number): string | undefined {
  const address = trustedProxies > 0 ? hops.at(-trustedProxies) : undefined;
  return address !== undefined && parseAddress(address) !== undefined ? address : undefined;
}

function formulaCall({ method, path, authority, headers = {} }: HttpCall): FormulaCall {
  const [host = ''] = authority.toLowerCase().split(/:(?=\d*$)/);
  const mark = path.indexOf('?');
  const texts = new Map<string, string>([
    ['method', method],
    ['path', withoutQuery(path)],
    ['host', host],
    ...Object.entries(headers).map(([name, value]) => [`header:${name}`, value] as const),
    ...(mark < 0 ? [] : queryFields(path.slice(mark + 1))),
  ]);
  const flags = new Set(/:\d*$/.test(authority) ? ['host.port'] : []);
  return { flags, texts, lists: new Map(), addresses: new Map() };
}

/**
 * Lists the query parameters in reverse order, so that the first one wins if a name is repeated. Envoy also matches the
 * first one.
 */
function queryFields(query: string): readonly (readonly [string, string])[] {
  const fields = query.split('&').map((pair) => {
    const [name = '', ...value] = pair.split('=');
    return [`query:${name}`, value.join('=')] as const;
  });
  return fields.toReversed();
}

function unknownFields({ headers = {}, path }: HttpCall, sourceIp: string | undefined): ReadonlyMap<string, string> {
  const generated = Object.keys(headers).filter((name) => GATEWAY_GENERATED_HEADERS.test(name));
  return new Map([
    ...['x-request-id', ...generated].map((name) => [`header:${name}`, `gateways replace the header ${name}`] as const),
    ...(sourceIp === undefined ? [['header:x-forwarded-for', 'the address of the caller is not given'] as const] : []),
    ...(path.includes('%') && path.includes('?')
      ? [...path.matchAll(/[?&]([^=&]*)=[^&]*%/g)].map(
          ([, name]) => [`query:${name}`, `the parameter ${name} has escapes`] as const,
        )
      : []),
  ]);
}
