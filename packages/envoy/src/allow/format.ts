/**
 * The rules for header values in routes. These are the only accepted strings in which Envoy substitutes commands (Envoy
 * documentation, "Custom request/response headers"). The gate also rejects values that Envoy would reject, because
 * Envoy rejects all routes of a port if a single header is invalid.
 */
import { quoteUntrusted } from './names.ts';
import { type Check, rule } from './rule.ts';

/**
 * Commands that describe the request, the connection or the time. All others are rejected. For example,
 * `%ENVIRONMENT(NAME)%` would send environment variables of the workspace to a service.
 */
export const FORMAT_COMMANDS: readonly string[] = [
  ...['REQ', 'RESP', 'START_TIME', 'BYTES_RECEIVED', 'BYTES_SENT', 'CONNECTION_ID', 'DURATION', 'PROTOCOL'],
  ...['REQUEST_DURATION', 'RESPONSE_DURATION', 'RESPONSE_CODE', 'RESPONSE_CODE_DETAILS', 'RESPONSE_FLAGS'],
  ...['ROUTE_NAME', 'STREAM_ID', 'TRACE_ID', 'VIRTUAL_CLUSTER_NAME', 'REQUESTED_SERVER_NAME'],
  ...['UPSTREAM_CLUSTER', 'UPSTREAM_HOST', 'UPSTREAM_REMOTE_ADDRESS'],
  ...['DOWNSTREAM_DIRECT_REMOTE_ADDRESS', 'DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT'],
  ...['DOWNSTREAM_LOCAL_ADDRESS', 'DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT', 'DOWNSTREAM_LOCAL_PORT'],
  ...['DOWNSTREAM_REMOTE_ADDRESS', 'DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT', 'DOWNSTREAM_REMOTE_PORT'],
];
/** The commands whose argument is the name of a header. No other command has an argument, except for `START_TIME`. */
const READS_HEADER: readonly (string | undefined)[] = ['REQ', 'RESP'];

/** Matches `%%`, `%COMMAND%`, `%COMMAND(ARGUMENT)%`, `%COMMAND(ARGUMENT):LENGTH%`, or any other percent sign. */
const PERCENT = /%%|%([A-Z0-9_]+)(?:\(([^()]*)\))?(?::([0-9]{1,5}))?%|%/g;
const HEADER = /^:?[A-Za-z0-9_.-]+$/;
const TIME = /^[A-Za-z0-9%:/ .,_+-]*$/;
const NAME = /^[A-Za-z0-9!#$&'*+.^_`|~-]+$/;

function command(name: string | undefined, argument: string | undefined, tokenHeader?: string): string | undefined {
  if (name === undefined) return 'a percent sign outside a format command is not accepted: use %%';
  if (!FORMAT_COMMANDS.includes(name)) return `format command %${name.slice(0, 40)}% is not accepted`;
  if (name === 'START_TIME')
    return TIME.test(argument ?? '') ? undefined : `format command %${name}% has an invalid time format`;
  if (!READS_HEADER.includes(name))
    return argument === undefined ? undefined : `format command %${name}% does not accept an argument`;
  const [first = '', ...alternatives] = (argument ?? '').split('?');
  if (alternatives.length > 1 || ![first, ...alternatives].every((one) => HEADER.test(one)))
    return `format command %${name}% accepts a header name and one alternative`;
  const reads = [first, ...alternatives].some((one) => one.toLowerCase() === tokenHeader);
  return reads ? `format command %${name}% may not read the identity token` : undefined;
}

/**
 * Checks a header value.
 * @param bytes the header value as text or as bytes. Some versions of Envoy substitute commands in both
 */
const value: Check<string | Uint8Array> = (bytes, { expected }) => {
  const text = typeof bytes === 'string' ? bytes : Buffer.from(bytes).toString('latin1');
  if (/[\0\r\n]/.test(text)) return 'a header value must be a single line';
  for (const [all, name, argument, length] of text.matchAll(PERCENT)) {
    if (all === '%%') continue;
    const reason = command(name, argument, expected?.tokenHeader);
    if (reason !== undefined) return reason;
    if (length !== undefined && !READS_HEADER.includes(name))
      return `format command %${name}% does not accept a length`;
  }
  return undefined;
};

/**
 * Checks the name of a header to add or remove. Envoy does not allow changing the host header or the HTTP/2
 * pseudo-headers, whose names begin with a colon.
 */
const name: Check<string> = (header) =>
  NAME.test(header) && header.toLowerCase() !== 'host'
    ? undefined
    : `header ${quoteUntrusted(header)} may not be changed`;

export const HEADER_VALUE = rule(value);
export const HEADER_NAME = rule(name);
/** The rule for a list of header names. If a name is rejected, only that name is removed. */
export const HEADER_NAMES = rule(name, { each: true });
