/** The access file once read, the mesh as policy needs to see it, and what compiling yields: the nouns of this package. */
import type { Attestation } from '@meshpass/identity';

/** Where something stands in a file: 1-based. */
export interface Place {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

/** Exactly one issuer of OIDC proofs. */
export interface TrustedIssuer {
  readonly name: string;
  /** Compared as a string, exactly. */
  readonly issuer: string;
  /** The `aud` that proofs must carry. */
  readonly audience: string;
  readonly algorithms: readonly string[];
  /** `actions` maps GitHub Actions' claims to ids; `generic` takes `sub`. */
  readonly kind: 'generic' | 'actions';
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
  /** `org/slug`, lower case. */
  readonly team?: string;
  /** `owner/name` where `*` stands for any characters but `/`; matched whole. */
  readonly repository?: string;
  /** Issuer name from `trust.issuers`, or `github`. */
  readonly issuer?: string;
  /** CEL over `claims`, `issuer`, `subject`, `login`, `teams`, `workspace`. */
  readonly when?: string;
}

/** `GET /orders/*`: a method or `*`, and a path, exact or with `*` at its very end. */
export interface Operation {
  readonly method: string;
  readonly path: string;
}

export interface GrantTarget {
  readonly place: Place;
  readonly service: string;
  readonly namespace: string;
  readonly port: number;
  /** Absent: the whole port. */
  readonly allow?: readonly Operation[];
}

export interface Grant {
  readonly name: string;
  readonly place: Place;
  readonly who: readonly Who[];
  readonly to: readonly GrantTarget[];
  /** `role@namespace`: a ClusterRole, bound in that namespace. */
  readonly kubernetesRoles: readonly { readonly role: string; readonly namespace: string; readonly place: Place }[];
  /** Life of an SVID, seconds. */
  readonly ttl: number;
  /** Hard limit of a session, seconds. */
  readonly session: number;
}

export interface Access {
  readonly file: string;
  readonly trust: Trust;
  readonly grants: readonly Grant[];
}

/** What authorize() says: the grants that match and why, or why none does. Reasons are for the audit log and people. */
export interface Decision {
  readonly grants: readonly { readonly grant: Grant; readonly reason: string }[];
  /** One line per grant that does not match. */
  readonly refusals: readonly string[];
}
export type Authorize = (attestation: Attestation, access: Access) => Decision;

/** A Kubernetes Service, as far as policy cares. */
export interface MeshService {
  readonly name: string;
  readonly namespace: string;
  readonly ports: readonly {
    readonly port: number;
    /** Number or name on the pod. */
    readonly targetPort: number | string;
    readonly name: string;
    /** As Istio would see it: declared by appProtocol or port-name prefix; `undeclared` is sniffed at run time. */
    readonly protocol: 'http' | 'http2' | 'tcp' | 'undeclared';
  }[];
  readonly selector: Readonly<Record<string, string>>;
  /** Labels and ServiceAccounts of the pods behind it. */
  readonly workloads: readonly { readonly labels: Readonly<Record<string, string>>; readonly serviceAccount: string }[];
}

/** An AuthorizationPolicy that somebody else wrote, as far as compiling needs it. */
export interface ForeignPolicy {
  readonly name: string;
  readonly namespace: string;
  readonly action: 'ALLOW' | 'DENY' | 'AUDIT' | 'CUSTOM';
  /** Absent: every workload of the namespace (of the mesh, in the root namespace). */
  readonly selector?: Readonly<Record<string, string>>;
}

export interface Mesh {
  readonly trustDomain: string;
  /** Istio's root namespace (`istio-system`). */
  readonly rootNamespace: string;
  /** DNS domain of the cluster: `cluster.local`. */
  readonly clusterDomain: string;
  /** Namespace, labels and port of the AUTO_PASSTHROUGH gateway. */
  readonly gateway: {
    readonly namespace: string;
    readonly labels: Readonly<Record<string, string>>;
    readonly port: number;
  };
  readonly services: readonly MeshService[];
  readonly foreignPolicies: readonly ForeignPolicy[];
}

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
