/** Context that the parts of a broker share. */
import type { Logger } from 'pino';
import type { Clock, Random } from './clock/clock.ts';
import type { Metrics } from './telemetry/metrics.ts';

/** The process that a part runs in, with the part's settings and what its installation provides. */
export interface Process<Config, Given> {
  readonly config: Config;
  readonly given: Given;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly metrics: Metrics;
  /** Returns a callback that counts and logs a dependency's failures. The part then retries or continues. */
  readonly failed: (where: string) => (cause: unknown) => void;
}
