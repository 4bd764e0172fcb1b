/** Model of the parsed access file and of the compiler's output. */
import type { Attestation } from '@meshpass/identity';
import type { Place } from '@meshpass/istio';

/** Trusted issuer of OIDC proofs. */
export interface TrustedIssuer {
  readonly name: string;
  /** URL of the issuer. It is compared exactly, as a string. */
  readonly issuer: string;
  /** Required `aud` of proofs from this issuer. */
  readonly audience: string;
  readonly algorithms: readonly string[];
  /** `actions` reads ids from the claims of GitHub Actions. `generic` uses `sub`. */
  readonly kind: 'generic' | 'actions';
  /** OAuth client that people use to sign in at this issuer. */
  readonly signIn?: SignInClient;
}

/** Public OAuth client without a secret. Operators may have a separate one. */
export interface SignInClient {
  /** `client_id`, which must be the only `aud` of its ID tokens. */
  readonly client: string;
  /**
   * Separate client for operators, so that their ID tokens cannot be used elsewhere. If absent, operators also use
   * `client`.
   */
  readonly operatorClient?: string | undefined;
  /** Whether a person has the same `sub` at both clients (OpenID Connect Core section 8). Unknown if absent. */
  readonly subjectType?: 'public' | 'pairwise' | undefined;
  /** Scopes in addition to `openid`. */
  readonly scopes: readonly string[];
  /** Whether to request a refresh token. */
  readonly refresh: boolean;
  /**
   * Whether an operator's browser requests the refresh token with `prompt=consent` (OpenID Connect Core section 11).
   * Defaults to true.
   */
  readonly consent?: boolean | undefined;
  /** Number of seconds by which the issuer backdates `iat`. Defaults to 0. */
  readonly backdated?: number | undefined;
  /**
   * Seconds for which a sign-in remains valid without being confirmed by a fresh ID token. Unused if `refresh` is
   * false.
   */
  readonly confirm: number;
  /** Whether an ID token must contain the nonce that binds it to the session's key. */
  readonly nonce: 'required' | 'optional';
}

/** Webhook that receives approval requests and sends answers. */
export interface ApprovalWebhook {
  readonly name: string;
  readonly place: Place;
  readonly url: string;
  /** Issuer of the people for whom the webhook answers: `github`, or a name from `trust.issuers`. */
  readonly speaksFor: string;
}

/** Sign-in that an entry requires in addition to its other fields. */
export interface SignedIn {
  /** Name of an issuer that has `signIn`. */
  readonly issuer: string;
  /** Required claims of the ID token, as in Who. */
  readonly claims?: ClaimValues;
  /** CEL expression over the sign-in's `claims`, `issuer`, `subject` and `login`. */
  readonly when?: string;
  /** Maximum number of seconds since the person authenticated. */
  readonly maxAge?: number;
  /** Required authentication methods (RFC 8176). */
  readonly amr?: readonly string[];
}

export const OPERATOR_ROLES = ['viewer', 'approver', 'operator', 'security-officer', 'admin'] as const;
export type OperatorRole = (typeof OPERATOR_ROLES)[number];

/** The broker's operators. */
export interface Operators {
  readonly roles: Readonly<Record<OperatorRole, readonly Who[]>>;
  readonly serviceAccounts: readonly {
    readonly place: Place;
    readonly namespace: string;
    readonly name: string;
    readonly roles: readonly OperatorRole[];
  }[];
  /** Lifetime of operator sessions, seconds. */
  readonly session: number;
  /** Whether an ID token without a nonce is accepted. Many issuers do not include one in their device flow. */
  readonly deviceFlow: boolean;
}

export interface Trust {
  /** Trust in Codespaces. If absent, no Codespace is accepted. */
  readonly codespaces?: { readonly organization: string };
  readonly issuers: readonly TrustedIssuer[];
  /** Audiences for which sessions may request ID tokens (`sts.amazonaws.com`). */
  readonly audiences: readonly string[];
}

/** Alternative in `who`. All of its fields must match. */
export interface Who {
  readonly place: Place;
  /** GitHub login. It is resolved at attestation and never stored as an identity. */
  readonly user?: string;
  /** GitHub's user id, which does not change when the login does. */
  readonly userId?: number;
  /** `org/slug`, lower case. */
  readonly team?: string;
  /** GitHub's id of the team. If set, `team` only identifies the organization and shows readers which team is meant. */
  readonly teamId?: number;
  /** Role in an organization: `org/admin` or `org/member`, lower case. */
  readonly role?: string;
  /** `owner/name`, where `*` matches any characters except `/`. The whole name must match. */
  readonly repository?: string;
  /** GitHub's repository id. */
  readonly repositoryId?: number;
  /** Full ref or pattern: `refs/heads/main`, `refs/tags/v*`, `refs/heads/release/**`. */
  readonly ref?: string;
  /** Deployment environment of a GitHub Actions job, compared exactly. */
  readonly environment?: string;
  /** Issuer name from `trust.issuers`, or `github`. */
  readonly issuer?: string;
  /** Required claims of the proof. A claim must equal one of the values or, if it is a list, contain one of them. */
  readonly claims?: ClaimValues;
  /** CEL expression over `claims`, `issuer`, `subject`, `login`, `teams`, `workspace`. */
  readonly when?: string;
  /** Sign-in that the session must have in addition. */
  readonly signedIn?: SignedIn;
}

/** Accepted values by claim name. Values are strings and compared exactly. */
export type ClaimValues = Readonly<Record<string, readonly string[]>>;

/** Denial that overrides all grants. A condition that cannot be decided counts as matched. */
export interface Denial extends Who {
  /** Reason shown in the audit log and to the denied user. */
  readonly reason?: string;
}

/**
 * Operation such as `GET /orders/*`. The method may be `*`. The path is exact, ends in `*`, or is an Istio template.
 */
export interface Operation {
  readonly method: string;
  readonly path: string;
  /** Claims that are required for calls of this operation. */
  readonly require?: ClaimValues;
  /** Whether the file lists the operation as a gRPC method. */
  readonly grpc?: true;
}

/**
 * Entry of `to`. It either identifies one port of one Service (only `service` and `namespace`, or `host`), or selects
 * all Services that currently match all of its fields.
 */
export interface GrantTarget {
  readonly place: Place;
  /** Service name. If absent, selects every Service that matches the other fields. */
  readonly service?: string;
  /** Name, or a pattern that begins with a letter and in which `*` matches any characters. */
  readonly namespace?: string;
  /** Labels that the namespace must have. */
  readonly namespaceLabels?: Readonly<Record<string, string>>;
  /** Labels that the Service must have. */
  readonly labels?: Readonly<Record<string, string>>;
  /** Full host name of one Service. */
  readonly host?: string;
  /** Port number or name. */
  readonly port: number | string;
  /** Allowed operations. If absent, the whole port is allowed. */
  readonly allow?: readonly Operation[];
  /** Operations that are denied even if allowed. */
  readonly deny?: readonly Operation[];
  /** Claims that are required for every call. */
  readonly require?: ClaimValues;
}

/** ClusterRole that is bound in one namespace or in all selected ones. */
export interface GrantRole {
  readonly place: Place;
  readonly role: string;
  /** Name or pattern, as in GrantTarget. */
  readonly namespace?: string;
  readonly namespaceLabels?: Readonly<Record<string, string>>;
}

/**
 * Powers that a ClusterRole may have beyond reading and changing objects. Each of them bypasses the mesh, gives access
 * to another identity, or outlives the session. A role with such a power is refused unless `kubernetes.allow` lists the
 * power.
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

/** Time window during which a grant is open. All fields must match. */
export interface Window {
  readonly place: Place;
  /** Days of the week. 0 is Sunday. */
  readonly days?: readonly number[];
  /**
   * Minutes since midnight in `zone`. If the window ends on the next day, `to` is before `from`. Set both or neither.
   */
  readonly from?: number;
  readonly to?: number;
  /** IANA time zone. */
  readonly zone: string;
  /** Unix seconds. */
  readonly after?: number;
  readonly before?: number;
}

/** Approval that a grant requires, and how long it lasts. All durations are in seconds. */
export interface Approval {
  readonly place: Place;
  readonly by: readonly Who[];
  /** Default duration. */
  readonly for: number;
  /** Maximum duration. */
  readonly max: number;
  /** Whether a request must include a reason. */
  readonly reason: 'required' | 'optional';
  /** Number of different people who must approve. */
  readonly count: number;
  /** Emergency access. If absent, the grant always requires an approval. */
  readonly emergency?: Emergency;
}

/**
 * Emergency access. People take a grant without approval, and another person reviews it afterwards. All durations are
 * in seconds.
 */
export interface Emergency {
  readonly place: Place;
  /**
   * People who may use emergency access. They must also be allowed to request the grant. If absent, everyone who may
   * request it.
   */
  readonly who?: readonly Who[];
  /** Maximum duration. */
  readonly for: number;
  /** People who may review the emergency access. One of them, other than the person who used it, must do so. */
  readonly review: readonly Who[];
  /** Time limit for the review, counted from when the grant is taken. */
  readonly within: number;
}

export interface Grant {
  readonly name: string;
  readonly place: Place;
  readonly who: readonly Who[];
  /** Exceptions to `who`. */
  readonly except?: readonly Denial[];
  readonly to: readonly GrantTarget[];
  readonly kubernetesRoles: readonly GrantRole[];
  /** Powers that the roles may have beyond reading and changing objects. None if absent. */
  readonly kubernetesAllow?: readonly KubernetesPower[];
  /** Lifetime of an SVID, seconds. */
  readonly ttl: number;
  /** Maximum lifetime of a session, seconds. */
  readonly session: number;
  /** Alternative time windows. If absent, the grant is always open. */
  readonly during?: readonly Window[];
  readonly approval?: Approval;
}

export interface Access {
  /** Name of the first file. */
  readonly file: string;
  /** All files that were read, including the first. Absent if there is only one. */
  readonly files?: readonly string[];
  /** Contact for access requests. It is only shown to callers with a proven identity. */
  readonly contact?: string;
  readonly trust: Trust;
  readonly deny?: readonly Denial[];
  readonly grants: readonly Grant[];
  /** Named operators. If absent, there are none. */
  readonly operators?: Operators;
  readonly webhooks?: readonly ApprovalWebhook[];
}

/**
 * Result of authorize(): the matching grants, and the reasons for all grants. Reasons are meant for people and the
 * audit log.
 */
export interface Decision {
  readonly grants: readonly {
    readonly grant: Grant;
    readonly reason: string;
    /**
     * Time at which the grant's window closes or the sign-in becomes too old, Unix seconds. Absent if neither happens
     * within a day.
     */
    readonly until?: number;
  }[];
  /** Grants for which only an approval is missing. It can be requested. */
  readonly requestable: readonly { readonly grant: Grant; readonly approval: Approval; readonly reason: string }[];
  /** Grants for which only a sign-in is missing, with the issuer's name. Absent if there are none. */
  readonly signIns?: readonly { readonly grant: string; readonly issuer: string }[];
  /** Reasons why the other grants do not match, one line each. */
  readonly refusals: readonly string[];
}

/** Approvals of a session: expiry by grant, Unix seconds. */
export type Approved = ReadonlyMap<string, number>;

/**
 * Authorizes an attestation.
 * @param at Unix seconds. Without it, no time window is open
 * @param approved approvals of this session. None if absent
 */
export type Authorize = (attestation: Attestation, access: Access, at?: number, approved?: Approved) => Decision;

/** Parameters that sidecars need to recognize identity tokens. */
export interface IdentityTokens {
  readonly issuer: string;
  readonly audience: string;
  readonly header: string;
  /** Inline JWKS as JSON text with a stable member order. */
  readonly jwks: string;
}

/** Kubernetes object for server-side apply. */
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
