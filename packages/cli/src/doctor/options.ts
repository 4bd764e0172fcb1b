/** Options of `meshpass doctor`. */
import type { AgentConfig } from '@meshpass/agent/control/config';
import type { Surroundings } from '@meshpass/agent/session/discover';

export interface DoctorOptions {
  readonly config: AgentConfig;
  /** PEM of the CA for the broker and the edge. */
  readonly ca: string | undefined;
  readonly surroundings: Surroundings;
  /** Unix milliseconds. */
  readonly now: () => number;
}
