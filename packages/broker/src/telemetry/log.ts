/** Structured log. Tokens have no business in it; should one stray into a field that is known to hold them, it is cut. */
import { type DestinationStream, type Logger, pino } from 'pino';

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
