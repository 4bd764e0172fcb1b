/** Mesh model that access files are compiled against. */
import type { RbacRule } from '../object/kubernetes.ts';

/** Kubernetes Service, reduced to the fields that affect policy. */
export interface MeshService {
  readonly name: string;
  readonly namespace: string;
  readonly ports: readonly {
    readonly port: number;
    /** Port number or port name of the Pod. */
    readonly targetPort: number | string;
    readonly name: string;
    /**
     * Protocol that Istio selects, which is declared by appProtocol or by a prefix of the port's name. If it is
     * `undeclared`, Istio detects the protocol at run time.
     */
    readonly protocol: 'http' | 'http2' | 'tcp' | 'undeclared';
  }[];
  readonly selector: Readonly<Record<string, string>>;
  /** The Service's own labels. */
  readonly labels?: Readonly<Record<string, string>>;
  /** Cluster IPs; absent if they are unknown or the Service is headless. */
  readonly addresses?: readonly string[];
  /** Labels and ServiceAccounts of the Service's Pods. */
  readonly workloads: readonly { readonly labels: Readonly<Record<string, string>>; readonly serviceAccount: string }[];
}

/** AuthorizationPolicy that Meshpass did not create, reduced to what the compiler needs. */
export interface ForeignPolicy {
  readonly name: string;
  readonly namespace: string;
  readonly action: 'ALLOW' | 'DENY' | 'AUDIT' | 'CUSTOM';
  /** Absent if the policy applies to every workload in the namespace, or in the mesh if it is in the root namespace. */
  readonly selector?: Readonly<Record<string, string>>;
}

export interface Mesh {
  readonly trustDomain: string;
  /** Istio's root namespace (`istio-system`). */
  readonly rootNamespace: string;
  /** The cluster's DNS domain: `cluster.local`. */
  readonly clusterDomain: string;
  /** Namespace, labels and port of the AUTO_PASSTHROUGH gateway. */
  readonly gateway: {
    readonly namespace: string;
    readonly labels: Readonly<Record<string, string>>;
    readonly port: number;
  };
  readonly services: readonly MeshService[];
  /** Namespaces that are not being deleted. If absent, the namespaces are unknown and rules cannot select on them. */
  readonly namespaces?: readonly { readonly name: string; readonly labels: Readonly<Record<string, string>> }[];
  readonly foreignPolicies: readonly ForeignPolicy[];
  /**
   * All ClusterRoles of the cluster. Built-in Kubernetes roles that are missing are assumed to have their default
   * rules.
   */
  readonly clusterRoles?: readonly MeshClusterRole[];
}

/** Unvalidated ClusterRole in its original form. */
export interface MeshClusterRole {
  readonly name: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly rules?: readonly RbacRule[];
  /** Selects the ClusterRoles whose rules this role includes. */
  readonly aggregationRule?: unknown;
}
