/** Structured log. Tokens have no business in it; should one stray into a field that is known to hold them, it is cut. */
import { type DestinationStream, type Logger, pino, stdTimeFunctions } from 'pino';
import type { Component } from './log-line.ts';

/** The part of a logger that the rooms below the HTTP API use; pino is one. */
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
 * One JSON object a line, in the form of log-line.ts.
 * @param component whose lines they are: a logger of its own for each, because a child would write the member twice
 * @param level `fatal`, `error`, `warn`, `info`, `debug`, `trace` or `silent`
 */
export function createLog(component: Component, level = 'info', destination?: DestinationStream): Logger {
  const options = {
    level,
    base: { component },
    timestamp: stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
    redact: { paths: SECRET.flatMap((name) => [name, `*.${name}`, `*.*.${name}`]), censor: '[cut]' },
  };
  return destination ? pino(options, destination) : pino(options);
}
