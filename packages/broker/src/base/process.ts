/** Context shared by the parts of a broker. */
import type { Logger } from 'pino';
import type { Clock, Random } from './clock/clock.ts';
import type { Metrics } from './telemetry/metrics.ts';

/** Process that a part runs in, including the part's settings and the dependencies that its caller provides. */
export interface Process<Config, Given> {
  readonly config: Config;
  readonly given: Given;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly metrics: Metrics;
  /** Returns a callback that counts and logs failures of a dependency. Afterwards, the part retries or continues. */
  readonly failed: (where: string) => (cause: unknown) => void;
}
