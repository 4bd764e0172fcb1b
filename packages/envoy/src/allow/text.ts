/** Checks of text: length, regular expressions, and the commands that Envoy puts values in for. */
import { MAX_RESOURCE_BYTES } from '../configuration.ts';

/** Bodies of fixed answers are the longest. */
const MAX_TEXT = 65_536;
/** As long as Istio accepts in a VirtualService. */
const MAX_REGEX = 1_024;

/**
 * Commands of Envoy's substitution format that say something about the request, the connection or the time. Any other is
 * refused: `%ENVIRONMENT(NAME)%` would send the workspace's environment along.
 */
export const FORMAT_COMMANDS: readonly string[] = [
  ...['BYTES_RECEIVED', 'BYTES_SENT', 'CONNECTION_ID', 'DURATION', 'PROTOCOL', 'REQ', 'REQUEST_DURATION', 'RESP'],
  ...['RESPONSE_CODE', 'RESPONSE_CODE_DETAILS', 'RESPONSE_DURATION', 'RESPONSE_FLAGS', 'ROUTE_NAME', 'START_TIME'],
  ...['STREAM_ID', 'TRACE_ID', 'UPSTREAM_CLUSTER', 'UPSTREAM_HOST', 'UPSTREAM_REMOTE_ADDRESS', 'VIRTUAL_CLUSTER_NAME'],
  ...['DOWNSTREAM_DIRECT_REMOTE_ADDRESS', 'DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT', 'DOWNSTREAM_LOCAL_ADDRESS'],
  ...['DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT', 'DOWNSTREAM_LOCAL_PORT', 'DOWNSTREAM_REMOTE_ADDRESS'],
  ...['DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT', 'DOWNSTREAM_REMOTE_PORT', 'REQUESTED_SERVER_NAME'],
];

/** Three letters at least: `%EF%BB` is part of a path. */
const COMMAND = /%([A-Z][A-Z0-9_]{2,})/g;

/** Of every text, wherever it is: which texts Envoy takes for formats differs by its version. */
export function checkText(text: string): string | undefined {
  if (text.length > MAX_TEXT) return `text of ${text.length} characters; at most ${MAX_TEXT} are accepted`;
  for (const [, command] of text.matchAll(COMMAND))
    if (!FORMAT_COMMANDS.includes(command!)) return `format command %${command!.slice(0, 40)}% is not accepted`;
  return undefined;
}

export function checkRegex(regex: string): string | undefined {
  return regex.length > MAX_REGEX
    ? `regular expression of ${regex.length} characters; at most ${MAX_REGEX}`
    : undefined;
}

export function checkBodyBound(bytes: number): string | undefined {
  return bytes > MAX_RESOURCE_BYTES ? 'bodies of more than 1 MiB are not accepted' : undefined;
}
