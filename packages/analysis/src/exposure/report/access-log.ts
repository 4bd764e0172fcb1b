/**
 * Parses the access logs of Istio gateways and sidecars. Sources: "Envoy Access Logs" (JSON encoding) in Istio's
 * documentation, and "Access logging" in Envoy's.
 */

import { record, text } from '@meshpass/istio/members';

/** The fields of a log line. A log format may leave out any of them. */
export type LogFields = Readonly<Record<string, unknown>>;

/** The fields that identify the host or the destination. A line that has none of them is not an access log line. */
const FIELDS = ['authority', 'upstream_cluster', 'requested_server_name'];

/** Parses a line of an access log. Returns undefined if it is not a JSON access log line. */
export function parseLogFields(line: string): LogFields | undefined {
  try {
    const fields: LogFields = record(JSON.parse(line));
    return FIELDS.some((name) => Object.hasOwn(fields, name)) ? fields : undefined;
  } catch {
    return undefined;
  }
}

/** Returns the text of a field. Returns undefined for `null` and `-`, which Envoy writes when a value is missing. */
export function logFieldText(value: unknown): string | undefined {
  const found = text(value);
  return found === undefined || found === '-' || found === '' ? undefined : found;
}

/** Returns the path without its query string, because policies compare paths without it. */
export function pathOf(fields: LogFields): string | undefined {
  return logFieldText(fields.path)?.replace(/[?#].*$/s, '');
}

/** Matches the response code details that a proxy logs when it rejects a caller. */
const REFUSED = /^(?:rbac_access_denied|jwt_authn_access_denied|ext_authz_denied)/;

/** Returns the reason why a proxy rejected the call or connection, or undefined if it did not reject it. */
export function refusalOf(fields: LogFields): string | undefined {
  return [fields.response_code_details, fields.connection_termination_details]
    .map(logFieldText)
    .find((details) => details !== undefined && REFUSED.test(details));
}
