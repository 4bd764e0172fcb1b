/**
 * Parts of a cluster of the lab, as plain data.
 *
 * Two networks, both inside namespaces. The management network is 10.202.N.0/24 with N allotted to each cluster: the machine's root
 * namespace reaches the Kubernetes API and the stand-ins there. The internet (203.0.113.0/24, documentation addresses) joins
 * the node, the stand-ins, the operator's machine and the workspace; LoadBalancer Services get addresses on it. Pods and Services have addresses that
 * only the node knows.
 */
import type { Host } from '../plan.ts';

export interface ClusterPlan {
  readonly name: string;
  /** N of 10.202.N.0/24. */
  readonly subnet: number;
  /** Prefix of the names of all its network namespaces. */
  readonly prefix: string;
  /** Namespace of both networks' bridges, and of the internet's name server. */
  readonly switch: string;
  /** Link of the root namespace to the management network, and its address there. */
  readonly link: string;
  readonly rootIp: string;
  readonly hosts: { readonly node: Host; readonly github: Host; readonly operator: Host; readonly workspace: Host };
  /** Below each controller of the machine: everything that runs in pods. */
  readonly cgroup: string;
}

export const NODE = 'node';
export const POD_RANGE = '10.244.0.0/24';
export const SERVICE_RANGE = '10.96.0.0/16';
/** Address of Service kube-dns. */
export const CLUSTER_DNS = '10.96.0.10';
export const CLUSTER_DOMAIN = 'cluster.local';

/** Addresses on the internet. The upper half is for LoadBalancer Services. */
export const INTERNET = {
  node: '203.0.113.2',
  github: '203.0.113.40',
  /** Second address of host `github`, for names of forwarded ports. */
  forwarding: '203.0.113.41',
  workspace: '203.0.113.10',
  operator: '203.0.113.20',
  nameServer: '203.0.113.53',
  prefix: 24,
  loadBalancers: '203.0.113.128/25',
} as const;

/** Addresses that LoadBalancer Services get, in this order. */
export const LOAD_BALANCER_ADDRESSES: readonly string[] = Array.from(
  { length: 120 },
  (_, at) => `203.0.113.${at + 130}`,
);

/** @param subnet N of 10.202.N.0/24, 1 to 250 */
export function planCluster(name: string, subnet: number): ClusterPlan {
  const prefix = `mpc-${name}-`;
  const host = (of: string, ip: string, network: Host['network']): Host => ({
    name: of,
    ip,
    network,
    netns: `${prefix}${of}`,
  });
  return {
    name,
    subnet,
    prefix,
    switch: `${prefix}switch`,
    link: `mpc${subnet}`,
    rootIp: `10.202.${subnet}.1`,
    hosts: {
      node: host('node', `10.202.${subnet}.10`, 'cluster'),
      github: host('github', `10.202.${subnet}.40`, 'cluster'),
      operator: host('operator', `10.202.${subnet}.50`, 'cluster'),
      workspace: host('workspace', INTERNET.workspace, 'internet'),
    },
    cgroup: `meshpass-cluster-${name}`,
  };
}
