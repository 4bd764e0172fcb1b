/** What rules are tested against: a call after Envoy has normalised it and its tokens have been looked at. */

export interface Facts {
  /** `spiffe://...`; empty where the peer is not authenticated. */
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
  readonly header: (name: string) => string | undefined;
  /** Of the token that was taken; undefined where there is none. */
  readonly claims: Readonly<Record<string, unknown>> | undefined;
  readonly metadata: Readonly<Record<string, Readonly<Record<string, unknown>>>> | undefined;
}

export type Test = (facts: Facts) => boolean;
