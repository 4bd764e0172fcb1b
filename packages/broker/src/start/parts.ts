/** The dependencies of a broker and the context that all of its parts share. */
import { randomBytes } from 'node:crypto';
import type { Logger } from 'pino';
import type { AdminParts } from '../admin/index.ts';
import type { CheckpointSink } from '../audit/index.ts';
import { type Clock, createLogger, createMetrics, type Process, type Random } from '../base/index.ts';
import type { SessionParts } from '../core/index.ts';
import type { ActiveState, StoreOptions } from '../store/index.ts';
import type { BrokerConfig } from './config.ts';

/** The dependencies that the caller has to provide because they are specific to the installation or the mesh. */
export interface BrokerParts extends SessionParts, AdminParts {
  readonly github?: NonNullable<SessionParts['github']>;
  /** Returns the problems that an operator should fix even though the broker is serving. */
  readonly warnings?: () => readonly string[];
  /** Additional sinks for the latest audit log checkpoint. Regardless of these, it is written to a file. */
  readonly checkpointSinks?: readonly CheckpointSink[];
  /** See `StoreOptions`. */
  readonly startEngine?: StoreOptions['startEngine'];
  readonly log?: Logger;
  readonly clock?: Clock;
  readonly random?: Random;
  /** Is notified when this broker becomes the active one. */
  readonly activeState?: Pick<ActiveState, 'activate'>;
  /** Aborting this signal makes a standby stop waiting. */
  readonly signal?: AbortSignal;
}

/** The context that all parts of the broker share. */
export type Base = Process<BrokerConfig, BrokerParts>;

/** Creates the shared context and uses defaults for any dependencies that were not provided. */
export function createBase(config: BrokerConfig, given: BrokerParts): Base {
  const { clock = Date.now, random = randomBytes, log = createLogger('broker') } = given;
  const metrics = createMetrics();
  const failed = (where: string) => (cause: unknown) => {
    metrics.failure(where);
    log.error({ err: cause, where }, 'a broker dependency failed');
  };
  return { config, given, clock, random, log, metrics, failed };
}
