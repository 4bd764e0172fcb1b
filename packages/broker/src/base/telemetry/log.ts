/**
 * Creates structured logs. Tokens must never be logged, but as a safeguard, fields that are known to contain tokens are
 * redacted.
 */
import { type DestinationStream, type Logger, pino, stdTimeFunctions } from 'pino';
import type { Component } from './log-line.ts';

/** The subset of pino's logger interface that modules below the HTTP API use. */
export interface Log {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

const SECRET = [
  'token',
  'access_token',
  'subject_token',
  'authorization',
  'dpop',
  'cookie',
  'password',
  'databaseUrl',
  'csr',
];

/**
 * Creates a logger that writes one JSON object per line, as defined in log-line.ts.
 * @param component the component that writes the lines. Each component needs its own logger, because a child logger
 *   would write this member twice.
 * @param level the minimum level: `fatal`, `error`, `warn`, `info`, `debug`, `trace` or `silent`
 */
export function createLogger(component: Component, level = 'info', destination?: DestinationStream): Logger {
  const options = {
    level,
    base: { component },
    timestamp: stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
    redact: { paths: SECRET.flatMap((name) => [name, `*.${name}`, `*.*.${name}`]), censor: '[cut]' },
  };
  return destination ? pino(options, destination) : pino(options);
}
