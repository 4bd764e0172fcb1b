/**
 * Rules for routes' header values, the only accepted texts in which Envoy substitutes commands (docs: "Custom
 * request/response headers"). The gate also rejects values that Envoy would reject, because a single bad header makes
 * Envoy reject all routes of a port.
 */
import { shown } from './names.ts';
import { type Check, rule } from './rule.ts';

/** Envoy's maximum length (`HeaderValue`). */
const MAX_HEADER = 16_384;

/** Kind of argument in a command's parentheses. */
type Argument = 'none' | 'header' | 'time';

/**
 * Commands that describe the request, the connection or the time. All others are rejected: `%ENVIRONMENT(NAME)%` would
 * send the workspace's environment to a service.
 */
export const FORMAT_COMMANDS: Readonly<Record<string, Argument>> = {
  REQ: 'header',
  RESP: 'header',
  START_TIME: 'time',
  BYTES_RECEIVED: 'none',
  BYTES_SENT: 'none',
  CONNECTION_ID: 'none',
  DURATION: 'none',
  PROTOCOL: 'none',
  REQUEST_DURATION: 'none',
  RESPONSE_DURATION: 'none',
  RESPONSE_CODE: 'none',
  RESPONSE_CODE_DETAILS: 'none',
  RESPONSE_FLAGS: 'none',
  ROUTE_NAME: 'none',
  STREAM_ID: 'none',
  TRACE_ID: 'none',
  VIRTUAL_CLUSTER_NAME: 'none',
  UPSTREAM_CLUSTER: 'none',
  UPSTREAM_HOST: 'none',
  UPSTREAM_REMOTE_ADDRESS: 'none',
  DOWNSTREAM_DIRECT_REMOTE_ADDRESS: 'none',
  DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT: 'none',
  DOWNSTREAM_LOCAL_ADDRESS: 'none',
  DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT: 'none',
  DOWNSTREAM_LOCAL_PORT: 'none',
  DOWNSTREAM_REMOTE_ADDRESS: 'none',
  DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT: 'none',
  DOWNSTREAM_REMOTE_PORT: 'none',
  REQUESTED_SERVER_NAME: 'none',
};

/** `%%`, `%COMMAND%`, `%COMMAND(ARGUMENT)%`, `%COMMAND(ARGUMENT):LENGTH%`, or any other percent sign. */
const PERCENT = /%%|%([A-Z0-9_]+)(?:\(([^()]*)\))?(?::([0-9]{1,5}))?%|%/g;
const HEADER = /^:?[A-Za-z0-9_.-]+$/;
const TIME = /^[A-Za-z0-9%:/ .,_+-]*$/;
const NAME = /^[A-Za-z0-9!#$&'*+.^_`|~-]+$/;

function command(name: string | undefined, argument: string | undefined, tokenHeader?: string): string | undefined {
  if (name === undefined) return 'a percent sign outside a format command is not accepted: use %%';
  const kind = Object.hasOwn(FORMAT_COMMANDS, name) ? FORMAT_COMMANDS[name] : undefined;
  if (kind === undefined) return `format command %${name.slice(0, 40)}% is not accepted`;
  if (kind === 'none')
    return argument === undefined ? undefined : `format command %${name}% does not accept an argument`;
  if (kind === 'time')
    return TIME.test(argument ?? '') ? undefined : `format command %${name}% has an invalid time format`;
  const [first = '', ...alternatives] = (argument ?? '').split('?');
  if (alternatives.length > 1 || ![first, ...alternatives].every((one) => HEADER.test(one)))
    return `format command %${name}% accepts a header name and one alternative`;
  const reads = [first, ...alternatives].some((one) => one.toLowerCase() === tokenHeader);
  return reads ? `format command %${name}% may not read the identity token` : undefined;
}

/**
 * Checks a header value.
 * @param bytes text or bytes, because some Envoy versions substitute commands in both
 */
const value: Check<string | Uint8Array> = (bytes, { expected }) => {
  const text = typeof bytes === 'string' ? bytes : Buffer.from(bytes).toString('latin1');
  if (text.length > MAX_HEADER)
    return `a header value has ${text.length} characters, but at most ${MAX_HEADER} are accepted`;
  if (/[\0\r\n]/.test(text)) return 'a header value must be a single line';
  for (const [all, name, argument, length] of text.matchAll(PERCENT)) {
    if (all === '%%') continue;
    const reason = command(name, argument, expected?.tokenHeader);
    if (reason !== undefined) return reason;
    if (length !== undefined && FORMAT_COMMANDS[name!] !== 'header')
      return `format command %${name}% does not accept a length`;
  }
  return undefined;
};

/**
 * Checks the name of a header to add or remove. Envoy changes neither the host nor HTTP/2 pseudo-headers, whose names
 * begin with a colon.
 */
const name: Check<string> = (header) =>
  NAME.test(header) && header.length <= MAX_HEADER && header.toLowerCase() !== 'host'
    ? undefined
    : `header ${shown(header)} may not be changed`;

export const HEADER_VALUE = rule(value);
export const HEADER_NAME = rule(name);
/** Names of headers, each of which can be omitted. */
export const HEADER_NAMES = rule(name, { each: true });
