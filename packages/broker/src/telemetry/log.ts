/** Structured log. Tokens have no business in it; should one stray into a field that is known to hold them, it is cut. */
import { type DestinationStream, type Logger, pino } from 'pino';

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

/** @param level `fatal`, `error`, `warn`, `info`, `debug`, `trace` or `silent` */
export function createLog(level = 'info', destination?: DestinationStream): Logger {
  const options = {
    level,
    base: { component: 'broker' },
    redact: { paths: SECRET.flatMap((name) => [name, `*.${name}`, `*.*.${name}`]), censor: '[cut]' },
  };
  return destination ? pino(options, destination) : pino(options);
}
