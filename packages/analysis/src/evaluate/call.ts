/** A call as the proxy that guards a workload sees it, and what is decided about it. */
import type { Place } from '@meshpass/istio';

/** A JSON Web Token that a call carries somewhere in its headers, query or cookies. */
export interface CallToken {
  /** As it stands there; base64url and dots. It is compared, never parsed. */
  readonly text: string;
  /** Its payload; undefined where it is no token at all. */
  readonly claims?: Readonly<Record<string, unknown>>;
  /** Whether keys of its issuer signed it (default: true). */
  readonly genuine?: boolean;
}

export interface HttpCall {
  readonly method: string;
  /** As the client sends it, with its query. */
  readonly path: string;
  /** `Host`, with its port where the client sends one. */
  readonly authority: string;
  /** Names in lower case; several values joined by `,`. */
  readonly headers?: Readonly<Record<string, string>>;
}

/** What is unknown (an absent address, say) matches nothing. */
export interface Call {
  /** Of the peer's certificate: `cluster.local/ns/shop/sa/web`. Absent: plain text, nobody. */
  readonly principal?: string;
  /** Address of the peer itself. */
  readonly sourceIp?: string;
  /** Address of the client behind proxies, where it is another; by default what `x-forwarded-for` says, as the proxy reads it. */
  readonly remoteIp?: string;
  readonly destinationIp?: string;
  /** Port of the workload, not of the Service. */
  readonly port: number;
  /** Server name of the TLS handshake. */
  readonly sni?: string;
  /** Absent: bytes that are no HTTP. */
  readonly http?: HttpCall;
  /** Whether the client announces HTTP (by ALPN or its first bytes); by default it does where it speaks it. Matters on undeclared ports. */
  readonly announces?: 'http' | 'tcp';
  readonly tokens?: readonly CallToken[];
  /** Unix time in seconds, for `exp` and `nbf`; absent: they are not looked at. */
  readonly now?: number;
  /** Dynamic metadata of other Envoy filters: filter -> key -> value. */
  readonly metadata?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  /** What external authorizers answer, by provider; allowed where nothing is said. */
  readonly external?: Readonly<Record<string, boolean>>;
}

/** A rule of a policy, and where it is written. */
export interface RuleRef {
  readonly kind: 'AuthorizationPolicy' | 'RequestAuthentication' | 'PeerAuthentication';
  readonly namespace: string;
  readonly name: string;
  readonly action?: 'ALLOW' | 'DENY' | 'AUDIT' | 'CUSTOM';
  /** Index of the rule in its policy; absent for a policy as a whole. */
  readonly rule?: number;
  /** Made when asked for. */
  readonly place: () => Place;
}

export type Reason =
  /** No ALLOW policy applies: everything that is not denied passes. */
  | 'open'
  /** An ALLOW rule matches. */
  | 'allow-rule'
  /** ALLOW policies apply, and no rule of them matches. */
  | 'no-allow-rule'
  | 'deny-rule'
  /** A CUSTOM rule matches whose external authorizer refuses, or is not known to the mesh. */
  | 'custom-rule'
  /** The token is not valid. */
  | 'invalid-token'
  /** Mutual TLS is demanded, and the peer has none. */
  | 'plaintext'
  /** The peer's certificate is of a trust domain that the mesh does not take. */
  | 'foreign-peer'
  /** A port that is declared as HTTP is spoken to otherwise. */
  | 'not-http'
  /** Envoy refuses the path itself. */
  | 'malformed-path';

export interface Decision {
  readonly allowed: boolean;
  readonly reason: Reason;
  /** Of the proxy's answer, where it gives one: 400, 401, 403. A refused connection has none. */
  readonly status?: number;
  /** What decided; absent where nothing did (`open`). */
  readonly rule?: RuleRef;
  /** Which rules were evaluated: those for HTTP, or those for TCP. */
  readonly as: 'http' | 'tcp';
  /** AUDIT rules that match. */
  readonly audited?: readonly RuleRef[];
  /** CUSTOM rules that match: the decision depends on their authorizers. */
  readonly external?: readonly { readonly provider: string; readonly rule: RuleRef }[];
  /** Refused by a CUSTOM rule whose authorizer the mesh's configuration might know, if it had been read. */
  readonly unknownProvider?: string;
  /** Request headers of the call by which a proxy whose Envoy is older than 1.40 decides otherwise: RequestAuthentication writes them. */
  readonly headersOfOlderEnvoy?: readonly string[];
  /** What policies in dry run would have done. */
  readonly dryRun?: { readonly denied?: RuleRef; readonly allowed?: RuleRef | 'no-rule' };
}
