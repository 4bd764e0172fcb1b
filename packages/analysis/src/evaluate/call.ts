/** Call as seen by the proxy that guards a workload, and the decision about it. */
import type { Place } from '@meshpass/istio';

/** JSON Web Token in the headers, query or cookies of a call. */
export interface CallToken {
  /** Token text, base64url and dots. Only compared, never parsed. */
  readonly text: string;
  /** Payload; undefined if the text is not a token. */
  readonly claims?: Readonly<Record<string, unknown>>;
  /** Whether it is signed with the issuer's keys; defaults to true. */
  readonly genuine?: boolean;
}

export interface HttpCall {
  readonly method: string;
  /** Path as the client sends it, including its query. */
  readonly path: string;
  /** `Host`, with its port if the client sends one. */
  readonly authority: string;
  /** Names in lower case. Multiple values are joined by `,`. */
  readonly headers?: Readonly<Record<string, string>>;
}

/** Request to an endpoint. The authority defaults to the endpoint's own. */
export type HttpRequest = Omit<HttpCall, 'authority'> & Partial<Pick<HttpCall, 'authority'>>;

/** Call. Fields that are unknown, such as an absent address, match nothing. */
export interface Call {
  /** Principal of the peer's certificate, `cluster.local/ns/shop/sa/web`; absent for plain text. */
  readonly principal?: string;
  /** Address of the peer itself. */
  readonly sourceIp?: string;
  /**
   * Address of the client behind proxies, if different. Defaults to the proxy's interpretation of `x-forwarded-for`.
   */
  readonly remoteIp?: string;
  readonly destinationIp?: string;
  /** Workload port, not Service port. */
  readonly port: number;
  /** Server name of the TLS handshake. */
  readonly sni?: string;
  /** Absent for bytes that are not HTTP. */
  readonly http?: HttpCall;
  /**
   * Protocol that the client announces (by ALPN or its first bytes); defaults to the protocol that it speaks. Only
   * matters on undeclared ports.
   */
  readonly announces?: 'http' | 'tcp';
  readonly tokens?: readonly CallToken[];
  /** Unix time in seconds, for `exp` and `nbf`; if absent, both are ignored. */
  readonly now?: number;
  /** Dynamic metadata of other Envoy filters: filter -> key -> value. */
  readonly metadata?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  /**
   * Way to a workload in ambient mode whose Service has a waypoint: through it, or straight to the Pod. Defaults to the way
   * that the mesh's workloads with the caller's identity take.
   */
  readonly way?: 'waypoint' | 'pod';
  /** External authorizers' answers by provider; default to allowed. */
  readonly external?: Readonly<Record<string, boolean>>;
}

/** Rule of a policy, and its source position. */
export interface RuleRef {
  readonly kind: 'AuthorizationPolicy' | 'RequestAuthentication' | 'PeerAuthentication';
  readonly namespace: string;
  readonly name: string;
  readonly action?: 'ALLOW' | 'DENY' | 'AUDIT' | 'CUSTOM';
  /** Index of the rule in its policy; absent for a policy as a whole. */
  readonly rule?: number;
  /** Computed on demand. */
  readonly place: () => Place;
}

export type Reason =
  /** No ALLOW policy applies, so everything that is not denied is allowed. */
  | 'open'
  /** An ALLOW rule matches. */
  | 'allow-rule'
  /** ALLOW policies apply, and none of their rules matches. */
  | 'no-allow-rule'
  | 'deny-rule'
  /** A CUSTOM rule matches, and its external authorizer refuses or is unknown to the mesh. */
  | 'custom-rule'
  /** The token is invalid. */
  | 'invalid-token'
  /** Mutual TLS is required, and the peer does not use it. */
  | 'plaintext'
  /** The peer's certificate belongs to a trust domain that the mesh does not trust. */
  | 'foreign-peer'
  /** The port is declared as HTTP, but the call does not speak HTTP. */
  | 'not-http'
  /** Envoy itself rejects the path. */
  | 'malformed-path';

export interface Decision {
  readonly allowed: boolean;
  readonly reason: Reason;
  /** Status of the proxy's HTTP response: 400, 401 or 403. Refused connections have none. */
  readonly status?: number;
  /** Deciding rule. Absent if no rule decides (`open`). */
  readonly rule?: RuleRef;
  /** Protocol whose rules were evaluated. */
  readonly as: 'http' | 'tcp';
  /** Proxy that decides, unless it is the workload's sidecar: `ztunnel`, `waypoint shop/gate`. */
  readonly at?: string;
  /** AUDIT rules that match. */
  readonly audited?: readonly RuleRef[];
  /** CUSTOM rules that match. The decision depends on their authorizers. */
  readonly external?: readonly { readonly provider: string; readonly rule: RuleRef }[];
  /**
   * Provider of the CUSTOM rule that refused the call. It may be defined in the mesh's configuration, which was not
   * read.
   */
  readonly unknownProvider?: string;
  /**
   * Request headers that RequestAuthentication writes and that change the decision of a proxy with Envoy older than
   * 1.40.
   */
  readonly headersOfOlderEnvoy?: readonly string[];
  /** Effect that dry-run policies would have had. */
  readonly dryRun?: { readonly denied?: RuleRef; readonly allowed?: RuleRef | 'no-rule' };
}
