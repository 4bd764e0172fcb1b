/** Defines a call as seen by the proxy that guards a workload, and the decision about it. */
import type { Place } from '@meshpass/istio';

/** JSON Web Token in a call's headers, query or cookies. */
export interface CallToken {
  /** Token in its encoded form (base64url and dots). It is only compared, never parsed. */
  readonly text: string;
  /** Payload of the token; undefined if the text is not a token. */
  readonly claims?: Readonly<Record<string, unknown>>;
  /** Whether the token is signed with the issuer's keys. Defaults to true. */
  readonly genuine?: boolean;
}

export interface HttpCall {
  readonly method: string;
  /** Path as the client sends it, including its query. */
  readonly path: string;
  /** `Host` header, including the port if the client sends one. */
  readonly authority: string;
  /** Header values by lowercase name. Multiple values are joined by `,`. */
  readonly headers?: Readonly<Record<string, string>>;
}

/** Request to an endpoint. The authority defaults to that of the endpoint. */
export type HttpRequest = Omit<HttpCall, 'authority'> & Partial<Pick<HttpCall, 'authority'>>;

/** Call to a workload. Unknown fields, such as an absent address, do not match any value. */
export interface Call {
  /** Principal of the peer's certificate, such as `cluster.local/ns/shop/sa/web`; absent for plain text. */
  readonly principal?: string;
  /** Address of the peer. */
  readonly sourceIp?: string;
  /**
   * Address of the client behind any proxies, if it differs from the peer's. Defaults to the address that the proxy
   * derives from `x-forwarded-for`.
   */
  readonly remoteIp?: string;
  readonly destinationIp?: string;
  /** Port of the workload, not of the Service. */
  readonly port: number;
  /** Server name in the TLS handshake. */
  readonly sni?: string;
  /** HTTP request; absent for connections that are not HTTP. */
  readonly http?: HttpCall;
  /**
   * Protocol that the client announces by ALPN or its first bytes. Defaults to the protocol that it speaks. Only
   * relevant on ports with an undeclared protocol.
   */
  readonly announces?: 'http' | 'tcp';
  readonly tokens?: readonly CallToken[];
  /** Unix time in seconds, for `exp` and `nbf`. If absent, both claims are ignored. */
  readonly now?: number;
  /** Dynamic metadata from other Envoy filters: filter -> key -> value. */
  readonly metadata?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  /**
   * Path to an ambient-mode workload whose Service has a waypoint: through the waypoint, or directly to the Pod.
   * Defaults to the path that the mesh's workloads with the caller's identity use.
   */
  readonly way?: 'waypoint' | 'pod';
  /** Answers of external authorizers, by provider. Each defaults to allowed. */
  readonly external?: Readonly<Record<string, boolean>>;
}

/** Policy rule and its source position. */
export interface RuleRef {
  readonly kind: 'AuthorizationPolicy' | 'RequestAuthentication' | 'PeerAuthentication';
  readonly namespace: string;
  readonly name: string;
  readonly action?: 'ALLOW' | 'DENY' | 'AUDIT' | 'CUSTOM';
  /** Index of the rule in its policy. Absent if the reference is to the whole policy. */
  readonly rule?: number;
  /** Returns the source position, which is computed on demand. */
  readonly place: () => Place;
}

export type Reason =
  /** No ALLOW policy applies, so every call that is not denied is allowed. */
  | 'open'
  /** An ALLOW rule matches. */
  | 'allow-rule'
  /** ALLOW policies apply, but none of their rules matches. */
  | 'no-allow-rule'
  | 'deny-rule'
  /** A CUSTOM rule matches, and its external authorizer refuses the call or is unknown to the mesh. */
  | 'custom-rule'
  /** The token is invalid. */
  | 'invalid-token'
  /** The peer does not use mutual TLS, although it is required. */
  | 'plaintext'
  /** The peer's certificate belongs to a trust domain that the mesh does not trust. */
  | 'foreign-peer'
  /** The port is declared as HTTP, but the call is not HTTP. */
  | 'not-http'
  /** Envoy itself rejects the path. */
  | 'malformed-path';

export interface Decision {
  readonly allowed: boolean;
  readonly reason: Reason;
  /** Status of the proxy's HTTP response: 400, 401 or 403. Absent for refused connections. */
  readonly status?: number;
  /** Deciding rule. Absent if no rule decides (`open`). */
  readonly rule?: RuleRef;
  /** Protocol whose rules were evaluated for the call. */
  readonly as: 'http' | 'tcp';
  /** Proxy that decides, if it is not the workload's sidecar: `ztunnel` or `waypoint shop/gate`. */
  readonly at?: string;
  /** AUDIT rules that match. */
  readonly audited?: readonly RuleRef[];
  /** CUSTOM rules that match. The decision depends on their external authorizers. */
  readonly external?: readonly { readonly provider: string; readonly rule: RuleRef }[];
  /**
   * Provider of the CUSTOM rule that refused the call. A mesh configuration that was not read may define this provider.
   */
  readonly unknownProvider?: string;
  /**
   * Request headers that RequestAuthentication writes and that would change the decision of a proxy whose Envoy is
   * older than 1.40.
   */
  readonly headersOfOlderEnvoy?: readonly string[];
  /** Effect that dry-run policies would have had. */
  readonly dryRun?: { readonly denied?: RuleRef; readonly allowed?: RuleRef | 'no-rule' };
}
