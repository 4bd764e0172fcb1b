/** A mesh as compiling the access file needs to see it. */
import type { RbacRule } from '../object/kubernetes.ts';

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
  /** Its own labels. */
  readonly labels?: Readonly<Record<string, string>>;
  /** In the cluster; absent where it is headless, or nothing is known of it. */
  readonly addresses?: readonly string[];
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
  /** Namespaces that are not being deleted. Absent: not known, so nothing selects by them. */
  readonly namespaces?: readonly { readonly name: string; readonly labels: Readonly<Record<string, string>> }[];
  readonly foreignPolicies: readonly ForeignPolicy[];
  /** Every ClusterRole of the cluster. Absent, or without those that Kubernetes makes itself: these are as Kubernetes makes them. */
  readonly clusterRoles?: readonly MeshClusterRole[];
}

/** A ClusterRole, as it was read: nothing of it is trusted to have its form. */
export interface MeshClusterRole {
  readonly name: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly rules?: readonly RbacRule[];
  /** Selects ClusterRoles whose rules it has, too. */
  readonly aggregationRule?: unknown;
}
