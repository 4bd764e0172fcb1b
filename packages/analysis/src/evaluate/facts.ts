/** What rules are tested against: a call after Envoy has normalised it and its tokens have been looked at. */
import type { Call, HttpCall } from './call.ts';
import { parseAddress } from './rule/address.ts';
import { withoutQuery } from './rule/path.ts';

export interface Facts {
  /** SPIFFE id without its scheme; empty where the peer is not authenticated. */
  readonly principal: string;
  readonly sourceIp: string | undefined;
  readonly remoteIp: string | undefined;
  readonly destinationIp: string | undefined;
  readonly port: number;
  readonly sni: string;
  readonly method: string;
  /** Normalised, without its query. */
  readonly path: string;
  readonly authority: string;
  /** A request header by its name in lower case, pseudo-headers included. */
  header(name: string): string | undefined;
  /** Of the token that was taken; undefined where there is none. */
  readonly claims: Readonly<Record<string, unknown>> | undefined;
  readonly metadata: Call['metadata'];
}

export type Test = (facts: Facts) => boolean;

type Headers = Readonly<Record<string, string | undefined>>;

/** One class for both, so that every test meets objects of one form. */
export class CallFacts implements Facts {
  readonly principal: string;
  readonly sourceIp: string | undefined;
  readonly destinationIp: string | undefined;
  readonly port: number;
  readonly sni: string;
  readonly method: string;
  readonly path: string;
  readonly authority: string;
  readonly metadata: Call['metadata'];
  claims: Readonly<Record<string, unknown>> | undefined = undefined;
  /** As the rules see them: what a valid token adds and takes away is in it. */
  headers: Headers | undefined;
  readonly #call: Call;
  readonly #http: HttpCall | undefined;
  readonly #wholePath: string;

  /**
   * @param principal empty where the peer is not authenticated
   * @param sni empty where there is no handshake that has one
   * @param path normalised, with its query; absent for what is no HTTP
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

  /** A proxy that trusts no other believes the last address: that is what the one before it has seen. */
  get remoteIp(): string | undefined {
    const { remoteIp, sourceIp } = this.#call;
    if (remoteIp !== undefined) return remoteIp;
    const value = this.#http?.headers?.['x-forwarded-for'];
    const last = value?.slice(value.lastIndexOf(',') + 1).trim();
    return last !== undefined && parseAddress(last) ? last : sourceIp;
  }

  header(name: string): string | undefined {
    if (name === ':method') return this.method;
    if (name === ':path') return this.#wholePath;
    if (name === ':authority' || name === 'host') return this.authority;
    return this.headers?.[name];
  }
}
