/**
 * Kubernetes objects: Services, Pods, RBAC and Ingresses, reduced to the fields that affect access. Source: the
 * Kubernetes API reference.
 */

import type { Item, ValueOf } from './custom.ts';
import type { KubeObject, Labels, SpecObject, Texts } from './object.ts';
import type { KUBERNETES } from './shapes.ts';

export interface ServicePort {
  readonly name?: string;
  readonly port: number;
  readonly targetPort?: number | string;
  /** Defaults to TCP, as in Kubernetes. */
  readonly protocol?: string;
  readonly appProtocol?: string;
  /**
   * The port on every node, for Services of type NodePort and LoadBalancer. If it is absent, the API server chooses
   * one.
   */
  readonly nodePort?: number;
}

export type Service = SpecObject<
  'Service',
  {
    readonly type?: string;
    readonly selector?: Labels;
    readonly ports?: readonly ServicePort[];
    readonly clusterIP?: string;
    readonly clusterIPs?: Texts;
    readonly externalName?: string;
    readonly externalIPs?: Texts;
    readonly loadBalancerClass?: string;
    readonly loadBalancerSourceRanges?: Texts;
    readonly allocateLoadBalancerNodePorts?: boolean;
    readonly [member: string]: unknown;
  }
>;

export type Namespace = KubeObject<'Namespace'>;

export type ServiceAccount = KubeObject<'ServiceAccount'>;

export interface Container {
  readonly name?: string;
  readonly ports?: readonly {
    readonly name?: string;
    readonly containerPort?: number;
    readonly hostPort?: number;
    readonly hostIP?: string;
    readonly protocol?: string;
  }[];
  readonly [member: string]: unknown;
}

export interface PodSpec {
  readonly serviceAccountName?: string;
  /** The deprecated name of `serviceAccountName`. */
  readonly serviceAccount?: string;
  readonly hostNetwork?: boolean;
  readonly containers?: readonly Container[];
  readonly initContainers?: readonly Container[];
  readonly [member: string]: unknown;
}

interface PodTemplate {
  readonly metadata?: { readonly labels?: Labels; readonly annotations?: Labels };
  readonly spec?: PodSpec;
}

export type Pod = SpecObject<'Pod', PodSpec> & {
  readonly status?: { readonly podIP?: string; readonly phase?: string };
};

/** A controller that creates Pods from a template. */
export type PodController = SpecObject<
  'Deployment' | 'StatefulSet' | 'DaemonSet' | 'ReplicaSet' | 'Job',
  { readonly template?: PodTemplate; readonly replicas?: number; readonly [member: string]: unknown }
>;

/** An object whose content is at the top level, next to its metadata. */
type Flat<Kind extends keyof typeof KUBERNETES> = KubeObject<Kind> & ValueOf<(typeof KUBERNETES)[Kind]>;

export type Role = Flat<'Role'> | Flat<'ClusterRole'>;
export type RbacRule = Item<Role['rules']>;
export type RoleBinding = Flat<'RoleBinding'> | Flat<'ClusterRoleBinding'>;
export type ConfigMap = Flat<'ConfigMap'>;

type Own<Kind extends 'Ingress' | 'IngressClass' | 'IngressClassParams'> = SpecObject<
  Kind,
  ValueOf<(typeof KUBERNETES)[Kind]['open']['spec']>
>;

export type Ingress = Own<'Ingress'>;
export type IngressBackend = NonNullable<Ingress['spec']['defaultBackend']>;
export type IngressPath = Item<NonNullable<Item<Ingress['spec']['rules']>['http']>['paths']>;

export type IngressClass = Own<'IngressClass'>;
/** The settings of an IngressClass of the AWS Load Balancer Controller. */
export type IngressClassParams = Own<'IngressClassParams'>;
