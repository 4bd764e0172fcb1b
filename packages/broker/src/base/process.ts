/** The context that all parts of a broker share. */
import type { Logger } from 'pino';
import type { Clock, Random } from './clock/clock.ts';
import type { Metrics } from './telemetry/metrics.ts';

/**
 * The process that a part of the broker runs in, together with the part's settings and the dependencies that its caller
 * provides.
 */
export interface Process<Config, Given> {
  readonly config: Config;
  readonly given: Given;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly metrics: Metrics;
  /**
   * Returns a callback that counts and logs the failures of a dependency. The part that reports a failure then retries
   * or carries on without the dependency.
   */
  readonly failed: (where: string) => (cause: unknown) => void;
}
