/** Types for a parsed access file and for the compiler's output. */
import type { Attestation } from '@meshpass/identity';
import type { Place } from '@meshpass/istio';

/** An issuer whose OIDC proofs are trusted. */
export interface TrustedIssuer {
  readonly name: string;
  /** The issuer URL. It is compared as a string and must match exactly. */
  readonly issuer: string;
  /** The `aud` claim that proofs from this issuer must have. */
  readonly audience: string;
  readonly algorithms: readonly string[];
  /**
   * Determines how identities are read. `actions` takes ids from the GitHub Actions claims, and `generic` uses `sub`.
   */
  readonly kind: 'generic' | 'actions';
  /** The OAuth client that people use to sign in at this issuer. */
  readonly signIn?: SignInClient;
}

/** A public OAuth client, which has no secret. Operators can have a separate one. */
export interface SignInClient {
  /** The `client_id`. ID tokens for this client must have it as their only `aud`. */
  readonly client: string;
  /** A separate client for operators, so that their ID tokens cannot be used elsewhere. Defaults to `client`. */
  readonly operatorClient?: string | undefined;
  /**
   * Whether a person has the same `sub` at both clients (OpenID Connect Core section 8). If absent, this is unknown.
   */
  readonly subjectType?: 'public' | 'pairwise' | undefined;
  /** The scopes to request in addition to `openid`. */
  readonly scopes: readonly string[];
  /** Whether to request a refresh token. */
  readonly refresh: boolean;
  /**
   * Whether an operator's browser requests the refresh token with `prompt=consent` (OpenID Connect Core section 11).
   * Defaults to true.
   */
  readonly consent?: boolean | undefined;
  /** How far the issuer backdates `iat`, in seconds. Defaults to 0. */
  readonly backdated?: number | undefined;
  /**
   * How long a sign-in stays valid without confirmation by a new ID token, in seconds. Ignored if `refresh` is false.
   */
  readonly confirm: number;
  /** Whether an ID token must contain the nonce, which binds it to the session's key. */
  readonly nonce: 'required' | 'optional';
}

/** A webhook that receives approval requests and answers them. */
export interface ApprovalWebhook {
  readonly name: string;
  readonly place: Place;
  readonly url: string;
  /** The issuer of the people on whose behalf the webhook answers: `github`, or a name from `trust.issuers`. */
  readonly speaksFor: string;
}

/** A sign-in that an entry requires in addition to its other fields. */
export interface SignedIn {
  /** The name of an issuer that supports `signIn`. */
  readonly issuer: string;
  /** The claims that the ID token must have, in the same form as in `Who`. */
  readonly claims?: ClaimValues;
  /** A CEL expression that can use the sign-in's `claims`, `issuer`, `subject` and `login`. */
  readonly when?: string;
  /** The maximum time since the person authenticated, in seconds. */
  readonly maxAge?: number;
  /** Authentication methods (RFC 8176) that the sign-in must have used. */
  readonly amr?: readonly string[];
}

export const OPERATOR_ROLES = ['viewer', 'approver', 'operator', 'security-officer', 'admin'] as const;
export type OperatorRole = (typeof OPERATOR_ROLES)[number];

/** The people and ServiceAccounts that may operate the broker. */
export interface Operators {
  readonly roles: Readonly<Record<OperatorRole, readonly Who[]>>;
  readonly serviceAccounts: readonly {
    readonly place: Place;
    readonly namespace: string;
    readonly name: string;
    readonly roles: readonly OperatorRole[];
  }[];
  /** The lifetime of an operator session, in seconds. */
  readonly session: number;
  /** Whether ID tokens without a nonce are accepted. Many issuers omit the nonce in their device flow. */
  readonly deviceFlow: boolean;
}

export interface Trust {
  /** The organization whose Codespaces are accepted. If absent, no Codespaces are accepted. */
  readonly codespaces?: { readonly organization: string };
  readonly issuers: readonly TrustedIssuer[];
  /** The audiences that sessions may request ID tokens for, such as `sts.amazonaws.com`. */
  readonly audiences: readonly string[];
}

/** An alternative in `who`. All of its fields must match. */
export interface Who {
  readonly place: Place;
  /** A GitHub login. It is resolved during attestation and never stored as an identity. */
  readonly user?: string;
  /** The GitHub user id, which stays the same when the login changes. */
  readonly userId?: number;
  /** A GitHub team as `org/slug`, in lower case. */
  readonly team?: string;
  /**
   * The GitHub team id. If it is set, `team` only identifies the organization and tells readers which team is meant.
   */
  readonly teamId?: number;
  /** A role in a GitHub organization, `org/admin` or `org/member`, in lower case. */
  readonly role?: string;
  /** A GitHub repository as `owner/name`. `*` matches any characters except `/`, and the whole name must match. */
  readonly repository?: string;
  readonly repositoryId?: number;
  /** A full Git ref or a pattern for one: `refs/heads/main`, `refs/tags/v*`, `refs/heads/release/**`. */
  readonly ref?: string;
  /** The deployment environment of a GitHub Actions job. It must match exactly. */
  readonly environment?: string;
  /** An issuer name from `trust.issuers`, or `github`. */
  readonly issuer?: string;
  /**
   * The claims that the proof must have. A claim must equal one of the accepted values. If the claim is a list, it must
   * contain one of them.
   */
  readonly claims?: ClaimValues;
  /** A CEL expression that can use `claims`, `issuer`, `subject`, `login`, `teams` and `workspace`. */
  readonly when?: string;
  /** A sign-in that the session must also have. */
  readonly signedIn?: SignedIn;
}

/** The accepted values of each claim. All values are strings and must match exactly. */
export type ClaimValues = Readonly<Record<string, readonly string[]>>;

/** A denial, which overrides all grants. If a condition cannot be decided, it counts as matched. */
export interface Denial extends Who {
  /** The reason, which is shown to the denied user and in the audit log. */
  readonly reason?: string;
}

/**
 * An HTTP operation such as `GET /orders/*`. The method can be `*`. The path is either exact, ends in `*`, or is an
 * Istio path template.
 */
export interface Operation {
  readonly method: string;
  readonly path: string;
  /** The claims that a caller needs for this operation. */
  readonly require?: ClaimValues;
  /** Whether the access file lists the operation as a gRPC method. */
  readonly grpc?: true;
}

/**
 * An entry of `to`. It either names one port of one Service (with just `service` and `namespace`, or `host`), or
 * selects every Service that currently matches all of its fields.
 */
export interface GrantTarget {
  readonly place: Place;
  /** The name of the Service. If absent, every Service that matches the other fields is selected. */
  readonly service?: string;
  /** A namespace, or a pattern that starts with a letter and in which `*` matches any characters. */
  readonly namespace?: string;
  /** Labels that the namespace must have. */
  readonly namespaceLabels?: Readonly<Record<string, string>>;
  /** Labels that the Service must have. */
  readonly labels?: Readonly<Record<string, string>>;
  /** The full host name of a single Service. */
  readonly host?: string;
  /** The port number or the name of the port. */
  readonly port: number | string;
  /** The operations that are allowed. If absent, the whole port is allowed. */
  readonly allow?: readonly Operation[];
  /** Operations that are denied even if `allow` includes them. */
  readonly deny?: readonly Operation[];
  /** The claims that a caller needs for every call. */
  readonly require?: ClaimValues;
}

/** A ClusterRole to bind, either in one namespace or in every namespace that is selected. */
export interface GrantRole {
  readonly place: Place;
  readonly role: string;
  /** A namespace or a pattern, as in `GrantTarget`. */
  readonly namespace?: string;
  readonly namespaceLabels?: Readonly<Record<string, string>>;
}

/**
 * The powers of a ClusterRole that go beyond reading and changing objects. Each of them bypasses the mesh, gives access
 * to another identity, or outlives the session. A role with such a power is rejected unless it is listed in
 * `kubernetes.allow`.
 */
export const KUBERNETES_POWERS = {
  exec: 'run commands in Pods',
  attach: 'attach to processes in Pods',
  'port-forward': 'connect to Pod ports, bypassing the mesh',
  proxy: 'connect to Pods and Services through the API server, bypassing the mesh',
  secrets: 'read or write Secrets',
  'token-requests': 'get tokens for other ServiceAccounts',
  impersonate: 'act as another user',
  workloads: 'run Pods, which can have any ServiceAccount and mount any Secret of the namespace',
  rbac: 'bind roles, which outlive the session (also escalate and bind)',
  policies: 'change mesh or network policies and routes, Services, or namespace labels',
  'custom-resources': 'change objects of API groups whose controllers may do anything',
  wildcards: 'everything that a "*" in its rules matches, including resources added later',
} as const;
export type KubernetesPower = keyof typeof KUBERNETES_POWERS;

/** A time window during which a grant is open. All of its fields must match. */
export interface Window {
  readonly place: Place;
  /** The days of the week, where 0 is Sunday. */
  readonly days?: readonly number[];
  /**
   * The start and end of the window, in minutes since midnight in `zone`. Set both or neither. If the window ends on
   * the next day, `to` is less than `from`.
   */
  readonly from?: number;
  readonly to?: number;
  /** An IANA time zone, such as `Europe/Berlin`. */
  readonly zone: string;
  /** The times between which the window applies, in Unix seconds. */
  readonly after?: number;
  readonly before?: number;
}

/** The approval that a grant requires and how long it lasts. All durations are in seconds. */
export interface Approval {
  readonly place: Place;
  readonly by: readonly Who[];
  /** The default duration of an approval. */
  readonly for: number;
  /** The maximum duration of an approval. */
  readonly max: number;
  /** Whether people must give a reason when they request an approval. */
  readonly reason: 'required' | 'optional';
  /** The number of different people who must approve. */
  readonly count: number;
  /** Allows emergency access. If absent, the grant always requires an approval. */
  readonly emergency?: Emergency;
}

/**
 * Emergency access: people use a grant without approval, and another person reviews it afterwards. All durations are in
 * seconds.
 */
export interface Emergency {
  readonly place: Place;
  /**
   * The people who may use emergency access. They must also be allowed to request the grant. If absent, everyone who
   * may request the grant can use it.
   */
  readonly who?: readonly Who[];
  /** The maximum duration of emergency access. */
  readonly for: number;
  /** The people who may review the emergency access. The reviewer must not be the person who used it. */
  readonly review: readonly Who[];
  /** How soon the review must be completed after emergency access begins. */
  readonly within: number;
}

export interface Grant {
  readonly name: string;
  readonly place: Place;
  readonly who: readonly Who[];
  /** Excludes people who would otherwise match `who`. */
  readonly except?: readonly Denial[];
  readonly to: readonly GrantTarget[];
  readonly kubernetesRoles: readonly GrantRole[];
  /** The powers that the roles may have beyond reading and changing objects. If absent, they may have none. */
  readonly kubernetesAllow?: readonly KubernetesPower[];
  /** The lifetime of an SVID, in seconds. */
  readonly ttl: number;
  /** The maximum lifetime of a session, in seconds. */
  readonly session: number;
  /** The time windows in which the grant is open. If absent, it is always open. */
  readonly during?: readonly Window[];
  readonly approval?: Approval;
}

export interface Access {
  /** The name of the main access file. */
  readonly file: string;
  /** All files that were read, including the main one. Absent if there is only one. */
  readonly files?: readonly string[];
  /** The contact for access requests. It is only shown to callers who have proven their identity. */
  readonly contact?: string;
  readonly trust: Trust;
  readonly deny?: readonly Denial[];
  readonly grants: readonly Grant[];
  readonly operators?: Operators;
  readonly webhooks?: readonly ApprovalWebhook[];
}

/**
 * The result of `authorize()`: the grants that match, and a reason for every grant. The reasons are written for people
 * and for the audit log.
 */
export interface Decision {
  readonly grants: readonly {
    readonly grant: Grant;
    readonly reason: string;
    /**
     * When the grant's time window closes or the sign-in becomes too old, in Unix seconds. Absent if neither happens
     * within a day.
     */
    readonly until?: number;
  }[];
  /** Grants that only lack an approval, which the user can request. */
  readonly requestable: readonly { readonly grant: Grant; readonly approval: Approval; readonly reason: string }[];
  /** Grants that only lack a sign-in at the given issuer. Absent if there are none. */
  readonly signIns?: readonly { readonly grant: string; readonly issuer: string }[];
  /** The reasons why the other grants do not match, one line for each. */
  readonly refusals: readonly string[];
}

/** A session's approvals. Maps the name of each grant to the time at which its approval expires, in Unix seconds. */
export type Approved = ReadonlyMap<string, number>;

/**
 * Authorizes an attestation and returns the decision.
 * @param at the current time, in Unix seconds. If absent, no time window is open
 * @param approved the session's approvals. If absent, it has none
 */
export type Authorize = (attestation: Attestation, access: Access, at?: number, approved?: Approved) => Decision;

/** The parameters that sidecars need in order to recognize identity tokens. */
export interface IdentityTokens {
  readonly issuer: string;
  readonly audience: string;
  readonly header: string;
  /** The JWKS to embed, as JSON text. The order of its members is stable. */
  readonly jwks: string;
}

/** A Kubernetes object to apply with server-side apply. */
export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly [member: string]: unknown;
}
