/** Model of the parsed access file, and of the compiler's output. */
import type { Attestation } from '@meshpass/identity';
import type { Place } from '@meshpass/istio';

/** Trusted issuer of OIDC proofs. */
export interface TrustedIssuer {
  readonly name: string;
  /** URL, compared exactly as a string. */
  readonly issuer: string;
  /** Required `aud` of proofs. */
  readonly audience: string;
  readonly algorithms: readonly string[];
  /** `actions` maps the claims of GitHub Actions to ids; `generic` uses `sub`. */
  readonly kind: 'generic' | 'actions';
  /** OAuth clients that people use to sign in there. */
  readonly signIn?: SignInClient;
}

/** Public OAuth client without a secret, or two of them if operators have a separate one. */
export interface SignInClient {
  /** `client_id`, and the only `aud` of its ID tokens. */
  readonly client: string;
  /**
   * Separate client for operators, so that their ID tokens are useless elsewhere. If absent, operators also use
   * `client`.
   */
  readonly operatorClient?: string | undefined;
  /** Whether a person has the same `sub` at both clients (OpenID Connect Core section 8); unknown if absent. */
  readonly subjectType?: 'public' | 'pairwise' | undefined;
  /** Scopes in addition to `openid`. */
  readonly scopes: readonly string[];
  /** Whether to request a refresh token. */
  readonly refresh: boolean;
  /**
   * Whether an operator's browser requests it with `prompt=consent` (OpenID Connect Core section 11); defaults to true.
   */
  readonly consent?: boolean | undefined;
  /** How far the issuer backdates `iat`, seconds. Defaults to 0. */
  readonly backdated?: number | undefined;
  /** How long a sign-in lasts without confirmation by a fresh ID token, seconds. Unused if `refresh` is false. */
  readonly confirm: number;
  /** Whether an ID token must contain the nonce that binds it to the session's key. */
  readonly nonce: 'required' | 'optional';
}

/** Webhook that receives approval requests and sends answers. */
export interface ApprovalWebhook {
  readonly name: string;
  readonly place: Place;
  readonly url: string;
  /** Issuer of the people it speaks for: `github`, or a name from `trust.issuers`. */
  readonly speaksFor: string;
}

/** Sign-in that an entry requires in addition to its other fields. */
export interface SignedIn {
  /** Name of an issuer with `signIn`. */
  readonly issuer: string;
  /** Claims of its ID token, as in Who. */
  readonly claims?: ClaimValues;
  /** CEL expression over the sign-in's `claims`, `issuer`, `subject` and `login`. */
  readonly when?: string;
  /** Maximum time since the person authenticated, seconds. */
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
  /** Whether an ID token without a nonce is accepted. Many issuers include none in their device flow. */
  readonly deviceFlow: boolean;
}

export interface Trust {
  /** Trust in Codespaces. If absent, Codespaces are not accepted. */
  readonly codespaces?: { readonly organization: string };
  readonly issuers: readonly TrustedIssuer[];
  /** Audiences for which sessions may request ID tokens (`sts.amazonaws.com`). */
  readonly audiences: readonly string[];
}

/** Alternative in `who`. All of its fields must match. */
export interface Who {
  readonly place: Place;
  /** GitHub login. Resolved at attestation, never stored as an identity. */
  readonly user?: string;
  /** GitHub's user id, which does not change when the login does. */
  readonly userId?: number;
  /** `org/slug`, lower case. */
  readonly team?: string;
  /** GitHub's id of that team. The slug then only identifies the organization and shows readers which team is meant. */
  readonly teamId?: number;
  /** Role in an organization: `org/admin` or `org/member`, lower case. */
  readonly role?: string;
  /** `owner/name`, with `*` for any characters except `/`. The whole name must match. */
  readonly repository?: string;
  /** GitHub's repository id. */
  readonly repositoryId?: number;
  /** `refs/heads/main`, `refs/tags/v*`, `refs/heads/release/**`. */
  readonly ref?: string;
  /** Deployment environment of a GitHub Actions job, compared exactly. */
  readonly environment?: string;
  /** Issuer name from `trust.issuers`, or `github`. */
  readonly issuer?: string;
  /** Required claims of the proof: each must equal one of the values or, if it is a list, contain one. */
  readonly claims?: ClaimValues;
  /** CEL expression over `claims`, `issuer`, `subject`, `login`, `teams`, `workspace`. */
  readonly when?: string;
  /** Sign-in that the session must also have. */
  readonly signedIn?: SignedIn;
}

/** Accepted values by claim name, as strings, compared exactly. */
export type ClaimValues = Readonly<Record<string, readonly string[]>>;

/** Denial that overrides all grants. An undecidable condition counts as matched. */
export interface Denial extends Who {
  /** Reason shown in the audit log and to the denied user. */
  readonly reason?: string;
}

/**
 * Operation such as `GET /orders/*`: a method or `*`, and a path that is exact, ends in `*`, or is an Istio template.
 */
export interface Operation {
  readonly method: string;
  readonly path: string;
  /** Claims that a call of this operation requires. */
  readonly require?: ClaimValues;
  /** Whether the file lists it as a gRPC method. */
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
  /** Name, or a pattern that begins with a letter and has `*` for any characters. */
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
  /** Claims that every call requires. */
  readonly require?: ClaimValues;
}

/** ClusterRole, bound in one namespace or in all selected ones. */
export interface GrantRole {
  readonly place: Place;
  readonly role: string;
  /** Name or pattern, as in GrantTarget. */
  readonly namespace?: string;
  readonly namespaceLabels?: Readonly<Record<string, string>>;
}

/**
 * Powers that a ClusterRole may have beyond reading and changing objects. Each bypasses the mesh, yields another user's
 * identity, or outlives the session, and is refused unless `kubernetes.allow` lists it.
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

/** Time window in which a grant is open. All fields must match. */
export interface Window {
  readonly place: Place;
  /** 0 is Sunday. */
  readonly days?: readonly number[];
  /**
   * Minutes since midnight in `zone`. `to` is before `from` if the window ends on the next day. Set both or neither.
   */
  readonly from?: number;
  readonly to?: number;
  /** IANA time zone. */
  readonly zone: string;
  /** Unix seconds. */
  readonly after?: number;
  readonly before?: number;
}

/** Approval that a grant requires, and its duration. All durations in seconds. */
export interface Approval {
  readonly place: Place;
  readonly by: readonly Who[];
  /** Default duration. */
  readonly for: number;
  /** Maximum duration. */
  readonly max: number;
  /** Whether a request needs a reason. */
  readonly reason: 'required' | 'optional';
  /** Number of different people who must approve. */
  readonly count: number;
  /** Emergency access. If absent, the grant always requires an approval. */
  readonly emergency?: Emergency;
}

/** Emergency access: people take a grant without an approval and are reviewed afterwards. All durations in seconds. */
export interface Emergency {
  readonly place: Place;
  /** People who may use this, among those who may request the grant. All of them if absent. */
  readonly who?: readonly Who[];
  /** Maximum duration. */
  readonly for: number;
  /** Reviewers. One other person must review it. */
  readonly review: readonly Who[];
  /** Time allowed for the review after the grant is taken. */
  readonly within: number;
}

export interface Grant {
  readonly name: string;
  readonly place: Place;
  readonly who: readonly Who[];
  /** Exceptions from `who`. */
  readonly except?: readonly Denial[];
  readonly to: readonly GrantTarget[];
  readonly kubernetesRoles: readonly GrantRole[];
  /** Powers that the roles may have beyond reading and changing objects; none if absent. */
  readonly kubernetesAllow?: readonly KubernetesPower[];
  /** Lifetime of an SVID, seconds. */
  readonly ttl: number;
  /** Maximum lifetime of a session, seconds. */
  readonly session: number;
  /** Alternative windows. If absent, the grant is always open. */
  readonly during?: readonly Window[];
  readonly approval?: Approval;
}

export interface Access {
  /** Name of the first file. */
  readonly file: string;
  /** All files that were read, including the first. Absent if there is only one. */
  readonly files?: readonly string[];
  /** Contact for access requests. Only shown to callers with a proven identity. */
  readonly contact?: string;
  readonly trust: Trust;
  readonly deny?: readonly Denial[];
  readonly grants: readonly Grant[];
  /** Operators; if absent, there are no named operators. */
  readonly operators?: Operators;
  readonly webhooks?: readonly ApprovalWebhook[];
}

/**
 * Result of authorize(): the matching grants, and the reasons for all grants. Reasons are for people and the audit log.
 */
export interface Decision {
  readonly grants: readonly {
    readonly grant: Grant;
    readonly reason: string;
    /**
     * When its time window closes or its sign-in becomes too old, Unix seconds. Absent if neither happens within a day.
     */
    readonly until?: number;
  }[];
  /** Grants that lack only an approval, which can be requested. */
  readonly requestable: readonly { readonly grant: Grant; readonly approval: Approval; readonly reason: string }[];
  /** Grants that lack only a sign-in, with the issuer's name; absent if there are none. */
  readonly signIns?: readonly { readonly grant: string; readonly issuer: string }[];
  /** Reasons why the other grants do not match, one line each. */
  readonly refusals: readonly string[];
}

/** A session's approvals: expiry by grant, Unix seconds. */
export type Approved = ReadonlyMap<string, number>;

/**
 * Authorizes an attestation.
 * @param at Unix seconds; without it, no time window is open
 * @param approved this session's approvals; none if absent
 */
export type Authorize = (attestation: Attestation, access: Access, at?: number, approved?: Approved) => Decision;

/** Parameters that sidecars need to recognize identity tokens. */
export interface IdentityTokens {
  readonly issuer: string;
  readonly audience: string;
  readonly header: string;
  /** Inline JWKS, JSON text with stable member order. */
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
