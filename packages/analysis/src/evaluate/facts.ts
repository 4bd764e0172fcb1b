/** Represents the input of rules: a call after Envoy has normalized its path and verified its tokens. */
import { parseAddress } from '../address.ts';
import type { Call, HttpCall } from './call.ts';
import { withoutQuery } from './rule/path.ts';

type Headers = Readonly<Record<string, string | undefined>>;

/**
 * The facts about a call that rules test. HTTP and TCP share one class, so that tests always receive objects of the
 * same shape.
 */
export class CallFacts {
  /** The peer's SPIFFE ID without its scheme. Empty if the peer is not authenticated. */
  readonly principal: string;
  /** The IP address of the peer, which waypoints cannot see. */
  sourceIp: string | undefined;
  readonly destinationIp: string | undefined;
  readonly port: number;
  readonly sni: string;
  readonly method: string;
  /** The normalized path, without its query string. */
  readonly path: string;
  readonly authority: string;
  readonly metadata: Call['metadata'];
  /** The claims of the token that was accepted. Undefined if there is no such token. */
  claims: Readonly<Record<string, unknown>> | undefined = undefined;
  /** The headers that rules match against. A valid token may already have changed them. */
  headers: Headers | undefined;
  readonly #call: Call;
  readonly #http: HttpCall | undefined;
  readonly #wholePath: string;

  /**
   * @param principal the peer's principal, or an empty string if the peer is not authenticated
   * @param sni the server name, or an empty string if the handshake does not contain one
   * @param path the normalized path with its query string, which only HTTP calls have
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
   * The IP address of the client. A proxy that does not trust any other proxy uses the last address in the header,
   * which is the one that the previous hop observed.
   */
  get remoteIp(): string | undefined {
    const { remoteIp, sourceIp } = this.#call;
    if (remoteIp !== undefined) return remoteIp;
    const value = this.#http?.headers?.['x-forwarded-for'];
    const last = value?.slice(value.lastIndexOf(',') + 1).trim();
    return last !== undefined && parseAddress(last) !== undefined ? last : sourceIp;
  }

  /** Returns the value of a request header or pseudo-header, given its lowercase name. */
  header(name: string): string | undefined {
    if (name === ':method') return this.method;
    if (name === ':path') return this.#wholePath;
    if (name === ':authority' || name === 'host') return this.authority;
    return this.headers?.[name];
  }
}

export type Test = (facts: CallFacts) => boolean;
