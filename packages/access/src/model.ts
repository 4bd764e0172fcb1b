/** The access file once read, and what compiling yields: the nouns of this package. */
import type { Attestation } from '@meshpass/identity';
import type { Place } from '@meshpass/istio';
import type { TrustedIssuer } from './model-issuer.ts';
import type { ApprovalWebhook } from './model-webhook.ts';

export type { SignInClient, TrustedIssuer } from './model-issuer.ts';
export type { ApprovalWebhook } from './model-webhook.ts';

/** What a sign-in must be, beside the other members of an entry. */
export interface SignedIn {
  /** Name of an issuer that has `signIn`. */
  readonly issuer: string;
  /** Claims of its ID token, as in Who. */
  readonly claims?: ClaimValues;
  /** CEL, in which `claims`, `issuer`, `subject` and `login` are those of the sign-in. */
  readonly when?: string;
  /** Longest time since the person was authenticated, seconds. */
  readonly maxAge?: number;
  /** Methods of authentication (RFC 8176), all of them. */
  readonly amr?: readonly string[];
}

export type OperatorRole = 'viewer' | 'approver' | 'operator' | 'security-officer' | 'admin';

/** Who may act on the broker itself. */
export interface Operators {
  readonly roles: Readonly<Record<OperatorRole, readonly Who[]>>;
  readonly serviceAccounts: readonly {
    readonly place: Place;
    readonly namespace: string;
    readonly name: string;
    readonly roles: readonly OperatorRole[];
  }[];
  /** Life of an operator's session, seconds. */
  readonly session: number;
  /** A session whose person the issuer has not confirmed for so long is refused, seconds. */
  readonly confirm: number;
  /** Whether an ID token without a nonce signs in: many issuers give none in their device flow. */
  readonly deviceFlow: boolean;
  /** Actions that another operator has to confirm. */
  readonly secondPerson: readonly string[];
  /** Of `secondPerson`; absent where it is empty. */
  readonly place?: Place;
}

export interface Trust {
  /** Absent: Codespaces are not accepted. */
  readonly codespaces?: { readonly organization: string };
  readonly issuers: readonly TrustedIssuer[];
  /** Audiences for which sessions may have ID tokens (`sts.amazonaws.com`). */
  readonly audiences: readonly string[];
}

/** One alternative of `who`; all of its members must hold. */
export interface Who {
  readonly place: Place;
  /** GitHub login; resolved by login at attestation, never stored as an identity. */
  readonly user?: string;
  /** GitHub's id of a user, which stays when the login changes. */
  readonly userId?: number;
  /** `org/slug`, lower case. */
  readonly team?: string;
  /** GitHub's id of that team: then the slug only says the organization, and for people which team it is. */
  readonly teamId?: number;
  /** `org/admin` or `org/member`, lower case: the role in an organization. */
  readonly role?: string;
  /** `owner/name` where `*` stands for any characters but `/`; matched whole. */
  readonly repository?: string;
  /** GitHub's id of a repository. */
  readonly repositoryId?: number;
  /** `refs/heads/main`, `refs/tags/v*`, `refs/heads/release/**`. */
  readonly ref?: string;
  /** Deployment environment of a job of GitHub Actions, exactly. */
  readonly environment?: string;
  /** Issuer name from `trust.issuers`, or `github`. */
  readonly issuer?: string;
  /** Claims of the proof, each equal to one of the values or, where it is a list, with one of them in it. */
  readonly claims?: ClaimValues;
  /** CEL over `claims`, `issuer`, `subject`, `login`, `teams`, `workspace`. */
  readonly when?: string;
  /** A sign-in that the session must have as well. */
  readonly signedIn?: SignedIn;
}

/** By name of the claim; values as text, compared exactly. */
export type ClaimValues = Readonly<Record<string, readonly string[]>>;

/** Who gets nothing, whatever grants say. What cannot be decided of it counts as met. */
export interface Denial extends Who {
  /** For the audit log and for who is refused. */
  readonly reason?: string;
}

/** `GET /orders/*`: a method or `*`, and a path: exact, with `*` at its very end, or a template of Istio. */
export interface Operation {
  readonly method: string;
  readonly path: string;
  /** Claims that a call of this operation must have, beside the grant. */
  readonly require?: ClaimValues;
  /** Written as a gRPC method. */
  readonly grpc?: true;
}

/**
 * An entry of `to`. It names one port of one Service (`service`, `namespace` and nothing else, or `host`), or it selects
 * whatever the mesh has at any time that meets all of its members.
 */
export interface GrantTarget {
  readonly place: Place;
  /** Absent: every Service that the other members select. */
  readonly service?: string;
  /** A name, or a pattern that begins with a letter and has `*` for any characters. */
  readonly namespace?: string;
  /** Labels that the namespace has, all of them. */
  readonly namespaceLabels?: Readonly<Record<string, string>>;
  /** Labels that the Service has, all of them. */
  readonly labels?: Readonly<Record<string, string>>;
  /** Full host name of one Service. */
  readonly host?: string;
  /** Number, or name. */
  readonly port: number | string;
  /** Absent: the whole port. */
  readonly allow?: readonly Operation[];
  /** Refused all the same. */
  readonly deny?: readonly Operation[];
  /** Claims that every call must have. */
  readonly require?: ClaimValues;
}

/** A ClusterRole, bound in one namespace or in every one that is selected. */
export interface GrantRole {
  readonly place: Place;
  readonly role: string;
  /** A name or a pattern, as in GrantTarget. */
  readonly namespace?: string;
  readonly namespaceLabels?: Readonly<Record<string, string>>;
}

/** What a ClusterRole may allow beside reading and changing objects. */
export type KubernetesPower =
  | 'exec'
  | 'attach'
  | 'port-forward'
  | 'proxy'
  | 'secrets'
  | 'token-requests'
  | 'impersonate'
  | 'workloads'
  | 'rbac'
  | 'policies'
  | 'custom-resources'
  | 'wildcards';

/** A time in which a grant is open; all members must hold. */
export interface Window {
  readonly place: Place;
  /** 0 is Sunday. */
  readonly days?: readonly number[];
  /** Minutes since midnight in `zone`; before `from` where it ends on the next day. Both or neither. */
  readonly from?: number;
  readonly to?: number;
  /** IANA time zone. */
  readonly zone: string;
  /** Unix seconds. */
  readonly after?: number;
  readonly before?: number;
}

/** Who has to agree before a grant is given, and for how long it is. Durations in seconds. */
export interface Approval {
  readonly place: Place;
  readonly by: readonly Who[];
  /** Where the request does not say how long. */
  readonly for: number;
  /** The longest. */
  readonly max: number;
  /** Whether a request needs a reason. */
  readonly reason: 'required' | 'optional';
  /** Different people who must approve. */
  readonly count: number;
  /** Absent: nobody has the grant without an approval. */
  readonly emergency?: Emergency;
}

/** That people take a grant without an approval, and are reviewed afterwards. Durations in seconds. */
export interface Emergency {
  readonly place: Place;
  /** Of those who may ask for it. Absent: all of them. */
  readonly who?: readonly Who[];
  /** The longest. */
  readonly for: number;
  /** Who reviews it: one other person. */
  readonly review: readonly Who[];
  /** Time for the review, counted from when it was taken. */
  readonly within: number;
}

export interface Grant {
  readonly name: string;
  readonly place: Place;
  readonly who: readonly Who[];
  /** Who does not have it all the same. */
  readonly except?: readonly Denial[];
  readonly to: readonly GrantTarget[];
  readonly kubernetesRoles: readonly GrantRole[];
  /** What the roles may allow beside reading and changing objects. Absent: nothing. */
  readonly kubernetesAllow?: readonly KubernetesPower[];
  /** Life of an SVID, seconds. */
  readonly ttl: number;
  /** Hard limit of a session, seconds. */
  readonly session: number;
  /** Alternatives. Absent: at any time. */
  readonly during?: readonly Window[];
  readonly approval?: Approval;
}

export interface Access {
  /** Name of the first file. */
  readonly file: string;
  /** Every file that was read, the first one included; absent where there is only that. */
  readonly files?: readonly string[];
  readonly trust: Trust;
  readonly deny?: readonly Denial[];
  readonly grants: readonly Grant[];
  /** Absent: nobody is an operator by name. */
  readonly operators?: Operators;
  readonly webhooks?: readonly ApprovalWebhook[];
}

/** What authorize() says: the grants that match and why, or why none does. Reasons are for the audit log and people. */
export interface Decision {
  readonly grants: readonly {
    readonly grant: Grant;
    readonly reason: string;
    /** Unix seconds at which its time window closes, or its sign-in is too old; absent where it has none, or none that closes within a day. */
    readonly until?: number;
  }[];
  /** Grants that would be given with an approval, which is not there: they can be requested. */
  readonly requestable: readonly { readonly grant: Grant; readonly approval: Approval; readonly reason: string }[];
  /** Grants that lack nothing but a sign-in, with the name of the issuer; absent: none does. */
  readonly signIns?: readonly { readonly grant: string; readonly issuer: string }[];
  /** One line per grant that does not match. */
  readonly refusals: readonly string[];
}

/** Approvals that a session has: Unix seconds of their end, by name of the grant. */
export type Approved = ReadonlyMap<string, number>;

/**
 * @param at Unix seconds; without it no time window is open
 * @param approved what has been approved for the one session that is decided about; absent: nothing
 */
export type Authorize = (attestation: Attestation, access: Access, at?: number, approved?: Approved) => Decision;

/** How identity tokens are recognised by sidecars. */
export interface IdentityTokens {
  readonly issuer: string;
  readonly audience: string;
  readonly header: string;
  /** Inline JWKS, JSON text with stable member order. */
  readonly jwks: string;
}

/** A Kubernetes object as server-side apply takes it. */
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
