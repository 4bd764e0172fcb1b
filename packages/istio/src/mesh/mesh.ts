/** Mesh model that access files are compiled against. */
import type { RbacRule } from '../object/kubernetes.ts';

/** Kubernetes Service, reduced to the fields that affect policy. */
export interface MeshService {
  readonly name: string;
  readonly namespace: string;
  readonly ports: readonly {
    readonly port: number;
    /** The Pod's port number or port name. */
    readonly targetPort: number | string;
    readonly name: string;
    /**
     * Protocol that Istio selects, declared by appProtocol or port-name prefix. If `undeclared`, Istio detects it at
     * run time.
     */
    readonly protocol: 'http' | 'http2' | 'tcp' | 'undeclared';
  }[];
  readonly selector: Readonly<Record<string, string>>;
  /** The Service's own labels. */
  readonly labels?: Readonly<Record<string, string>>;
  /** Cluster IPs; absent if the Service is headless or they are unknown. */
  readonly addresses?: readonly string[];
  /** Labels and ServiceAccounts of the Service's Pods. */
  readonly workloads: readonly { readonly labels: Readonly<Record<string, string>>; readonly serviceAccount: string }[];
}

/** AuthorizationPolicy from outside Meshpass, reduced to what the compiler needs. */
export interface ForeignPolicy {
  readonly name: string;
  readonly namespace: string;
  readonly action: 'ALLOW' | 'DENY' | 'AUDIT' | 'CUSTOM';
  /** Absent if it applies to every workload in the namespace (or in the mesh, for the root namespace). */
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
  /** Namespaces that are not being deleted. If absent, they are unknown and no rule selects on them. */
  readonly namespaces?: readonly { readonly name: string; readonly labels: Readonly<Record<string, string>> }[];
  readonly foreignPolicies: readonly ForeignPolicy[];
  /**
   * All ClusterRoles of the cluster. If Kubernetes' built-in roles are missing, they are assumed to have their default
   * rules.
   */
  readonly clusterRoles?: readonly MeshClusterRole[];
}

/** Unvalidated ClusterRole in its original form. */
export interface MeshClusterRole {
  readonly name: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly rules?: readonly RbacRule[];
  /** Selects ClusterRoles whose rules it includes. */
  readonly aggregationRule?: unknown;
}
