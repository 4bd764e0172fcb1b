/** What the state of the mesh is made of: where it looks, what it applies with, and how often. */
import type { IdentityTokens } from '@meshpass/access';
import type { Mesh } from '@meshpass/istio';
import type { Kubernetes } from '../kubernetes/kubernetes.ts';
import type { Log } from '../telemetry/log.ts';
import type { ClusterView } from './cluster-view.ts';

/** Of the mesh, what no watch tells. */
type MeshShape = Omit<Mesh, 'services' | 'namespaces' | 'foreignPolicies' | 'clusterRoles'>;

export interface StateOptions {
  readonly view: ClusterView;
  readonly kubernetes: Kubernetes;
  readonly mesh: MeshShape;
  readonly accessFile: string;
  /** As they must be recognised now. */
  readonly tokens: () => IdentityTokens;
  readonly log: Log;
  /** Unix seconds. */
  readonly now: () => number;
  /** 0 to 1. */
  readonly random: () => number;
  /** Others apply what is compiled: only keys are written, and the rest is compared. */
  readonly gitops?: boolean;
  /** Workspaces whose grants have roles may use the API server. */
  readonly offersKubernetes?: boolean;
  /** Milliseconds between two repairs of what others changed. */
  readonly resync: number;
  /** When this broker is the active one; nothing is applied before. Absent: now. */
  readonly activated?: Promise<void> | undefined;
}
