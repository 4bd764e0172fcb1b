/** The mesh model that access files are compiled against, and the conversion of Services to it. */
import type { RbacRule, Service } from '../object/kubernetes.ts';
import type { Metadata } from '../object/object.ts';
import { isTcp, type PortProtocol, protocolOf } from './port-protocol.ts';

/** A Kubernetes Service, reduced to the fields that affect policies. */
export interface MeshService {
  readonly name: string;
  readonly namespace: string;
  readonly ports: readonly {
    readonly port: number;
    /** The number or name of the Pod port that this port forwards to. */
    readonly targetPort: number | string;
    readonly name: string;
    /** The protocol that Istio selects. It is declared with appProtocol or with a prefix of the port name. */
    readonly protocol: PortProtocol;
  }[];
  readonly selector: Readonly<Record<string, string>>;
  /** The Service's own labels. */
  readonly labels?: Readonly<Record<string, string>>;
  /** The cluster IP addresses. Absent if they are unknown or if the Service is headless. */
  readonly addresses?: readonly string[];
  /** The labels and ServiceAccounts of the Pods behind the Service. */
  readonly workloads: readonly { readonly labels: Readonly<Record<string, string>>; readonly serviceAccount: string }[];
}

/** An AuthorizationPolicy that Meshpass did not create, reduced to the fields that the compiler needs. */
export interface ForeignPolicy {
  readonly name: string;
  readonly namespace: string;
  readonly action: 'ALLOW' | 'DENY' | 'AUDIT' | 'CUSTOM';
  /**
   * The labels of the workloads that the policy applies to. If absent, it applies to every workload in its namespace,
   * or in the whole mesh if that is the root namespace.
   */
  readonly selector?: Readonly<Record<string, string>>;
}

export interface Mesh {
  readonly trustDomain: string;
  /** Istio's root namespace, such as `istio-system`. */
  readonly rootNamespace: string;
  /** The DNS domain of the cluster, such as `cluster.local`. */
  readonly clusterDomain: string;
  /** The namespace, labels and port of the gateway that runs in AUTO_PASSTHROUGH mode. */
  readonly gateway: {
    readonly namespace: string;
    readonly labels: Readonly<Record<string, string>>;
    readonly port: number;
  };
  readonly services: readonly MeshService[];
  /** The namespaces that are not being deleted. If absent, the namespaces are unknown, so rules cannot select them. */
  readonly namespaces?: readonly { readonly name: string; readonly labels: Readonly<Record<string, string>> }[];
  readonly foreignPolicies: readonly ForeignPolicy[];
  /**
   * All ClusterRoles of the cluster. If a built-in Kubernetes role is missing, it is assumed to have its default rules.
   */
  readonly clusterRoles?: readonly MeshClusterRole[];
}

/** A ClusterRole in its original form, which has not been validated. */
export interface MeshClusterRole {
  readonly name: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly rules?: readonly RbacRule[];
  /** Selects the ClusterRoles whose rules this role includes. */
  readonly aggregationRule?: unknown;
}

/** The fields of a Kubernetes Service that this module uses. */
interface ServiceObject {
  readonly metadata: Pick<Metadata, 'name' | 'namespace' | 'labels'>;
  readonly spec: Pick<Service['spec'], 'type' | 'selector' | 'clusterIP' | 'clusterIPs' | 'ports'>;
}

/**
 * Converts a Service to the model. The result contains the TCP ports of the Service, but not its workloads.
 * @returns the Service, or undefined for an ExternalName Service, which has no workloads in the cluster
 * @example
 * ```ts
 * import { meshServiceOf } from '@meshpass/istio';
 * const metadata = { name: 'orders', namespace: 'shop' };
 * const service = meshServiceOf({ metadata, spec: { ports: [{ port: 80, name: 'http' }, { port: 53, protocol: 'UDP' }] } });
 * service!.ports; // => [{ port: 80, targetPort: 80, name: 'http', protocol: 'http' }]
 * ```
 */
export function meshServiceOf({ metadata, spec }: ServiceObject): Omit<MeshService, 'workloads'> | undefined {
  if (spec.type === 'ExternalName') return undefined;
  const ports = (spec.ports ?? []).filter(isTcp);
  const addresses = (spec.clusterIPs ?? [spec.clusterIP ?? '']).filter((one) => one !== '' && one !== 'None');
  return {
    name: metadata.name,
    namespace: metadata.namespace,
    selector: spec.selector ?? {},
    ...(metadata.labels && { labels: metadata.labels }),
    ...(addresses.length > 0 && { addresses }),
    ports: ports.map(({ port, targetPort = port, name = '', appProtocol }) => ({
      port,
      targetPort,
      name,
      protocol: protocolOf(port, appProtocol ?? name),
    })),
  };
}
