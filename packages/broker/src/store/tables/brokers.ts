/** Epoch of the active broker. */
import { statement } from '../statement.ts';

/** Table of the epoch. */
export const BROKER_TABLES = {
  /** Broker process that may write; one row. A newer process increases the epoch, and writes of the older one fail. */
  broker_epoch: {
    singleton: 'boolean primary key check (singleton)',
    epoch: 'integer not null',
    /** JSON text of the record (leader-record.ts). */
    holder: 'text',
  },
} as const;

/** First epoch. */
export const FIRST_EPOCH = [`insert into broker_epoch values (true, 0)`];

/**
 * Locks the epoch. Expect one row: none is returned if another broker has taken over. The lock also waits for any
 * statement of this broker that is still running although its connection was lost.
 */
export const LOCK_EPOCH = statement<number>(
  'select epoch from broker_epoch where epoch = ($1::jsonb->>0)::integer for update',
);
