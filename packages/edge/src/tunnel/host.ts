import type { EdgeDecision, MeshpassError } from '@meshpass/identity';
import type { ControlHub } from '../control/hub.ts';
import type { Directory } from '../directory.ts';
import type { EdgeLimits } from '../limits.ts';
import type { Gateway } from './forward.ts';

/** Dependencies of a tunnel. */
export interface TunnelHost<Tunnel> {
  readonly gateway: Gateway;
  /** The Kubernetes API server. Absent if this edge has no route to it. */
  readonly kubernetesApi: Gateway | undefined;
  readonly directory: Directory;
  readonly limits: EdgeLimits;
  readonly clock: () => number;
  readonly newId: () => string;
  /** @param known whether the decision belongs to a live session */
  decided(decision: EdgeDecision, known: boolean): void;
  /** Absent if the edge offers no control connections. */
  readonly control: ControlHub | undefined;
  /**
   * Counts the tunnel towards its session instead of as a stranger.
   * @returns an error if the session has reached a limit
   */
  join(tunnel: Tunnel, sessionId: string): MeshpassError | undefined;
  /** Removes a closed connection. Called once. */
  left(tunnel: Tunnel): void;
}
