/** Request from an outside client, and how a gateway changes it before it applies policies and routes. */
import type { PathNormalization } from '@meshpass/istio';
import { parseAddress } from '../../address.ts';
import type { Call as FormulaCall } from '../../diff/formula/call.ts';
import type { CallToken, HttpCall } from '../../evaluate/call.ts';
import { normalizePath, withoutQuery } from '../../evaluate/rule/path.ts';

/** Certificate that a client presents. */
export interface ClientCertificate {
  /** Whether it is valid for the gateway's `credentialName` or `caCertificates`, or for the mesh's roots. */
  readonly trusted: boolean;
  /** `cluster.local/ns/shop/sa/web` if the certificate's URI is a SPIFFE ID. */
  readonly principal?: string;
}

export interface OutsideRequest {
  /** Port of the Service in front of the gateway. If no Service is known, port of the Gateway's server or listener. */
  readonly port: number;
  /** Absent for plaintext. */
  readonly tls?: { readonly sni?: string; readonly certificate?: ClientCertificate };
  /** Absent for non-HTTP connections. */
  readonly http?: HttpCall;
  /** Address that the gateway sees. */
  readonly sourceIp?: string;
  readonly tokens?: readonly CallToken[];
  /** Unix time in seconds, used to check `exp` and `nbf`. If absent, both are ignored. */
  readonly now?: number;
}

/** HTTP request after the gateway's connection manager has processed it. */
export interface ReceivedRequest {
  readonly http: HttpCall;
  /** Address of the client behind any trusted proxies. */
  readonly remoteIp: string | undefined;
  /** Input for route formulas. */
  readonly call: FormulaCall;
  /** Maps fields with unknown values to the reasons. */
  readonly unknownFields: ReadonlyMap<string, string>;
}

/** Headers that gateways generate or replace. The request does not determine their values. */
export const GATEWAY_GENERATED_HEADERS =
  /^(?:x-request-id|x-envoy-.*|x-b3-.*|b3|traceparent|tracestate|x-forwarded-client-cert|x-forwarded-host|x-ot-span-context|forwarded)$/;

/**
 * Applies the gateway's own header changes, and splits the request into formula fields.
 * @returns undefined if Envoy rejects the path with status 400
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
 * Returns the client address that the trusted proxies report. Source: Envoy, "x-forwarded-for" with
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

/** Lists query parameters in reverse order, so that the first of a repeated name wins. Envoy matches that one. */
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
