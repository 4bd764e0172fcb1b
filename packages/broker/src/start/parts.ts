/** Dependencies of a broker, and the context that all of its parts share. */
import { randomBytes } from 'node:crypto';
import type { Logger } from 'pino';
import type { AdminParts } from '../admin/index.ts';
import type { CheckpointSink } from '../audit/index.ts';
import { type Clock, createLogger, createMetrics, type Process, type Random } from '../base/index.ts';
import type { SessionParts } from '../core/index.ts';
import type { ActiveState } from '../store/index.ts';
import type { BrokerConfig } from './config.ts';

/** Parts that the caller provides, because they depend on the installation or the mesh. */
export interface BrokerParts extends SessionParts, AdminParts {
  readonly github?: NonNullable<SessionParts['github']>;
  /** Returns problems that an operator should fix even though the broker is serving. */
  readonly warnings?: () => readonly string[];
  /** Sinks for the newest audit log checkpoint, in addition to the file. */
  readonly checkpointSinks?: readonly CheckpointSink[];
  readonly log?: Logger;
  readonly clock?: Clock;
  readonly random?: Random;
  /** State that is notified when this broker becomes active. */
  readonly activeState?: Pick<ActiveState, 'activate'>;
  /** Signal that ends the wait of a standby. */
  readonly signal?: AbortSignal;
}

/** Context shared by all parts of the broker. */
export type Base = Process<BrokerConfig, BrokerParts>;

/** Creates the context and fills in defaults. */
export function createBase(config: BrokerConfig, given: BrokerParts): Base {
  const { clock = Date.now, random = randomBytes, log = createLogger('broker') } = given;
  const metrics = createMetrics();
  const failed = (where: string) => (cause: unknown) => {
    metrics.failure(where);
    log.error({ err: cause, where }, 'a broker dependency failed');
  };
  return { config, given, clock, random, log, metrics, failed };
}
