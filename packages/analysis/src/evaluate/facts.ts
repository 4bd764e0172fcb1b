/** Input of rules: a call after Envoy has normalized its path and verified its tokens. */
import { parseAddress } from '../address.ts';
import type { Call, HttpCall } from './call.ts';
import { withoutQuery } from './rule/path.ts';

type Headers = Readonly<Record<string, string | undefined>>;

/** Facts about a call. HTTP and TCP share a single class, so that every test receives objects of the same shape. */
export class CallFacts {
  /** SPIFFE ID without its scheme; empty if the peer is not authenticated. */
  readonly principal: string;
  /** Address of the peer. Unknown to a waypoint. */
  sourceIp: string | undefined;
  readonly destinationIp: string | undefined;
  readonly port: number;
  readonly sni: string;
  readonly method: string;
  /** Normalized path without its query string. */
  readonly path: string;
  readonly authority: string;
  readonly metadata: Call['metadata'];
  /** Claims of the accepted token; undefined if no token was accepted. */
  claims: Readonly<Record<string, unknown>> | undefined = undefined;
  /** Headers that the rules match against, after a valid token has changed them. */
  headers: Headers | undefined;
  readonly #call: Call;
  readonly #http: HttpCall | undefined;
  readonly #wholePath: string;

  /**
   * @param principal empty if the peer is not authenticated
   * @param sni empty if the handshake has no server name
   * @param path normalized path, including its query string; absent for calls that are not HTTP
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

  /**
   * Client address. A proxy that trusts no other proxies uses the last address in the header, which is the one that the
   * previous hop observed.
   */
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
