/** Foundations of the broker process: time, rate limits, key files, logging and metrics. */

// Time.

export { type Clock, type Random, timestamp, toUnixSeconds, uuidv7 } from './clock/clock.ts';
export { pause } from './clock/timers.ts';
export { type RetryOptions, retryWhileUnavailable } from './clock/until-it-answers.ts';

// Limits and mutual exclusion.

export { createGuessLimiter } from './limits/guess-limiter.ts';
export { type KeyedMutex, runExclusive } from './limits/keyed-mutex.ts';
export { createRateAllowance } from './limits/rate-allowance.ts';

// Secrets and private files.

export { equalInConstantTime } from './secrets/constant-time.ts';
export { readConfiguredFile, readKeyFile, readPrivateFile, replaceFile, replaceKeyFile } from './secrets/key-file.ts';

// JSON checks.

export { hasDuplicateMember } from './duplicate-members.ts';

// The context that all parts of the broker share.
export type { Process } from './process.ts';

// Log and metrics.

export { createLogger, type Log } from './telemetry/log.ts';
export { createMetrics, type DeliveryOutcome, type Metrics } from './telemetry/metrics.ts';
