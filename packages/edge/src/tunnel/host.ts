import type { EdgeDecision, MeshpassError } from '@meshpass/identity';
import type { ControlHub } from '../control/hub.ts';
import type { Directory } from '../directory.ts';
import type { EdgeLimits } from '../limits.ts';
import type { Gateway } from './forward.ts';

/** What a tunnel needs of the edge around it. */
export interface TunnelHost<Tunnel> {
  readonly gateway: Gateway;
  /** The API server of Kubernetes; absent: nobody reaches it here. */
  readonly kubernetesApi: Gateway | undefined;
  readonly directory: Directory;
  readonly limits: EdgeLimits;
  readonly clock: () => number;
  readonly newId: () => string;
  /** @param known whether a live session stands behind the decision */
  decided(decision: EdgeDecision, known: boolean): void;
  /** Absent: no client is offered a control connection. */
  readonly control: ControlHub | undefined;
  /** Counts the tunnel to its session, and among strangers no more. @returns why it may not be */
  join(tunnel: Tunnel, sessionId: string): MeshpassError | undefined;
  /** The connection is gone. Called once. */
  left(tunnel: Tunnel): void;
}
