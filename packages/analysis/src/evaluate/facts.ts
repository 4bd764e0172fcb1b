/** Input of rules: a call after Envoy has normalized it and verified its tokens. */
import { parseAddress } from '../address.ts';
import type { Call, HttpCall } from './call.ts';
import { withoutQuery } from './rule/path.ts';

type Headers = Readonly<Record<string, string | undefined>>;

/** Single class for HTTP and TCP, so that every test receives objects of the same shape. */
export class CallFacts {
  /** SPIFFE id without its scheme; empty if the peer is not authenticated. */
  readonly principal: string;
  /** Address of the peer. A waypoint does not see it. */
  sourceIp: string | undefined;
  readonly destinationIp: string | undefined;
  readonly port: number;
  readonly sni: string;
  readonly method: string;
  /** Normalized path without its query. */
  readonly path: string;
  readonly authority: string;
  readonly metadata: Call['metadata'];
  /** Claims of the accepted token; undefined if there is none. */
  claims: Readonly<Record<string, unknown>> | undefined = undefined;
  /** Headers as the rules see them, after changes by a valid token. */
  headers: Headers | undefined;
  readonly #call: Call;
  readonly #http: HttpCall | undefined;
  readonly #wholePath: string;

  /**
   * @param principal empty if the peer is not authenticated
   * @param sni empty if the handshake has none
   * @param path normalized, with its query; absent for calls that are not HTTP
   */
  constructor(call: Call, principal: string, sni: string, http?: HttpCall, path = '') {
    this.principal = principal;
    this.sourceIp = call.sourceIp;
    this.destinationIp = call.destinationIp;
    this.port = call.port;
    this.sni = sni;
    this.method = http === undefined ? '' : http.method;
    this.path = withoutQuery(path);
    this.authority = http === undefined ? '' : http.authority;
    this.metadata = call.metadata;
    this.headers = http?.headers;
    this.#call = call;
    this.#http = http;
    this.#wholePath = path;
  }

  /** Client address. A proxy that trusts no other proxies uses the last address, which the previous hop observed. */
  get remoteIp(): string | undefined {
    const { remoteIp, sourceIp } = this.#call;
    if (remoteIp !== undefined) return remoteIp;
    const value = this.#http?.headers?.['x-forwarded-for'];
    const last = value?.slice(value.lastIndexOf(',') + 1).trim();
    return last !== undefined && parseAddress(last) !== undefined ? last : sourceIp;
  }

  /** Returns a request header or pseudo-header by its lowercase name. */
  header(name: string): string | undefined {
    if (name === ':method') return this.method;
    if (name === ':path') return this.#wholePath;
    if (name === ':authority' || name === 'host') return this.authority;
    return this.headers?.[name];
  }
}

export type Test = (facts: CallFacts) => boolean;
