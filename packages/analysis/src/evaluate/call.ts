/** Defines calls, as seen by the proxy in front of a workload, and the decisions about them. */
import type { Place } from '@meshpass/istio';

/** A JSON Web Token that a call carries in its headers, its query or its cookies. */
export interface CallToken {
  /** The encoded token (base64url segments separated by dots). It is only compared and never parsed. */
  readonly text: string;
  /** The payload of the token. Undefined if the text is not a token. */
  readonly claims?: Readonly<Record<string, unknown>>;
  /** Whether the token was signed with the issuer's keys. Defaults to true. */
  readonly genuine?: boolean;
}

export interface HttpCall {
  readonly method: string;
  /** The path as the client sends it, including the query. */
  readonly path: string;
  /** The `Host` header, including the port if the client sends one. */
  readonly authority: string;
  /** The values of all headers by their lowercase names. Multiple values are joined by `,`. */
  readonly headers?: Readonly<Record<string, string>>;
}

/** A request to an endpoint. If it does not specify an authority, the endpoint's default is used. */
export type HttpRequest = Omit<HttpCall, 'authority'> & Partial<Pick<HttpCall, 'authority'>>;

/** A call to a workload. Fields that are undefined, such as an unknown address, do not match any value. */
export interface Call {
  /** The principal in the peer's certificate, such as `cluster.local/ns/shop/sa/web`. Undefined for plain text. */
  readonly principal?: string;
  /** The IP address of the peer. */
  readonly sourceIp?: string;
  /**
   * The IP address of the client behind any proxies, if it differs from the peer's. Defaults to the address that the
   * proxy derives from `x-forwarded-for`.
   */
  readonly remoteIp?: string;
  readonly destinationIp?: string;
  /** The port of the workload, as opposed to the port of the Service. */
  readonly port: number;
  /** The server name that the client sends in the TLS handshake. */
  readonly sni?: string;
  /** The HTTP request. Undefined for connections that do not use HTTP. */
  readonly http?: HttpCall;
  /**
   * The protocol that the client announces by ALPN or by its first bytes. Defaults to the protocol that it actually
   * uses. Only relevant for ports whose protocol is undeclared.
   */
  readonly announces?: 'http' | 'tcp';
  readonly tokens?: readonly CallToken[];
  /** The current time in Unix seconds, for checking `exp` and `nbf`. If undefined, both claims are ignored. */
  readonly now?: number;
  /** Dynamic metadata that other Envoy filters have set, by filter and key. */
  readonly metadata?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  /**
   * How the call reaches a workload in ambient mode whose Service has a waypoint: through the waypoint, or directly.
   * Defaults to the path that workloads with the caller's identity use in this mesh.
   */
  readonly way?: 'waypoint' | 'pod';
  /** The answers of external authorizers, by provider. Every authorizer allows the call by default. */
  readonly external?: Readonly<Record<string, boolean>>;
}

/** A reference to a policy rule and its position in the source. */
export interface RuleRef {
  readonly kind: 'AuthorizationPolicy' | 'RequestAuthentication' | 'PeerAuthentication';
  readonly namespace: string;
  readonly name: string;
  readonly action?: 'ALLOW' | 'DENY' | 'AUDIT' | 'CUSTOM';
  /** The index of the rule within its policy. Undefined if this refers to the policy as a whole. */
  readonly rule?: number;
  /** Returns the rule's position in the source. It is computed on demand. */
  readonly place: () => Place;
}

export type Reason =
  /** No ALLOW policy applies, so every call that is not denied is allowed. */
  | 'open'
  /** An ALLOW rule matches the call. */
  | 'allow-rule'
  /** ALLOW policies apply to the workload, but none of their rules match the call. */
  | 'no-allow-rule'
  | 'deny-rule'
  /** A CUSTOM rule matches, and its external authorizer either rejects the call or is unknown to the mesh. */
  | 'custom-rule'
  /** The call carries an invalid token. */
  | 'invalid-token'
  /** The peer does not use mutual TLS even though it is required. */
  | 'plaintext'
  /** The peer's certificate comes from a trust domain that the mesh does not trust. */
  | 'foreign-peer'
  /** The port is declared as HTTP, but the call does not use HTTP. */
  | 'not-http'
  /** The path is malformed, so Envoy rejects the request before it evaluates any policy. */
  | 'malformed-path';

export interface Decision {
  readonly allowed: boolean;
  readonly reason: Reason;
  /** The status of the proxy's HTTP response: 400, 401 or 403. Undefined for connections that are rejected. */
  readonly status?: number;
  /** The rule that decided the call. Undefined if there is no such rule, as for `open`. */
  readonly rule?: RuleRef;
  /** The protocol whose rules were evaluated for the call. */
  readonly as: 'http' | 'tcp';
  /**
   * The proxy that made the decision, such as `ztunnel` or `waypoint shop/gate`. Undefined for the workload's own
   * sidecar.
   */
  readonly at?: string;
  /** The AUDIT rules that match the call. */
  readonly audited?: readonly RuleRef[];
  /** The CUSTOM rules that match the call. The decision also depends on their external authorizers. */
  readonly external?: readonly { readonly provider: string; readonly rule: RuleRef }[];
  /**
   * The provider of the CUSTOM rule that rejected the call. Only set if a mesh configuration that was not read may
   * define it.
   */
  readonly unknownProvider?: string;
  /**
   * Request headers that are written by a RequestAuthentication and that change the decision if the proxy's Envoy is
   * older than version 1.40.
   */
  readonly headersOfOlderEnvoy?: readonly string[];
  /** The effect that policies in dry-run mode would have had on the call. */
  readonly dryRun?: { readonly denied?: RuleRef; readonly allowed?: RuleRef | 'no-rule' };
}
