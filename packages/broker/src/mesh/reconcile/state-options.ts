/** Options of the mesh state: its sources, its client and its intervals. */
import type { IdentityTokens } from '@meshpass/access';
import type { Mesh } from '@meshpass/istio';
import type { Log } from '../../base/index.ts';
import type { Kubernetes } from '../kubernetes/kubernetes.ts';
import type { ClusterView } from './cluster-view.ts';

/** Settings of the mesh that no watch provides. */
type MeshShape = Omit<Mesh, 'services' | 'namespaces' | 'foreignPolicies' | 'clusterRoles'>;

export interface StateOptions {
  readonly view: ClusterView;
  readonly kubernetes: Kubernetes;
  readonly mesh: MeshShape;
  readonly accessFile: string;
  /** Token keys that sidecars must accept now. */
  readonly tokens: () => IdentityTokens;
  readonly log: Log;
  /** Unix seconds. */
  readonly now: () => number;
  /** Random number from 0 to 1. */
  readonly random: () => number;
  /** Whether GitOps applies the compiled objects. The broker then writes only its keys and compares the rest. */
  readonly gitops?: boolean;
  /** Whether workspaces whose grants have roles may use the API server. */
  readonly offersKubernetes?: boolean;
  /** Drift-repair interval, milliseconds. */
  readonly resync: number;
  /** Resolves when this broker becomes active; nothing is applied before. If absent, it is active now. */
  readonly activated?: Promise<void> | undefined;
}
