/**
 * Parses access logs of Istio gateways and sidecars. Source: Istio's documentation, "Envoy Access Logs" (JSON
 * encoding), and Envoy's "Access logging".
 */

import { record, text } from '@meshpass/istio/members';

/** Fields of a log line. A log format may omit any of them. */
export type LogFields = Readonly<Record<string, unknown>>;

/** Fields that identify the host or the destination. A line without any of them is not an access log line. */
const FIELDS = ['authority', 'upstream_cluster', 'requested_server_name'];

/** Parses a log line. Returns undefined if it is not a JSON access log line. */
export function parseLogFields(line: string): LogFields | undefined {
  try {
    const fields: LogFields = record(JSON.parse(line));
    return FIELDS.some((name) => Object.hasOwn(fields, name)) ? fields : undefined;
  } catch {
    return undefined;
  }
}

/** Returns a field's text, or undefined for `null` or `-`, which Envoy writes for missing values. */
export function logFieldText(value: unknown): string | undefined {
  const found = text(value);
  return found === undefined || found === '-' || found === '' ? undefined : found;
}

/** Returns the path without its query string, which is what policies match against. */
export function pathOf(fields: LogFields): string | undefined {
  return logFieldText(fields.path)?.replace(/[?#].*$/s, '');
}

/** Response code details that a proxy logs when it refuses the caller. */
const REFUSED = /^(?:rbac_access_denied|jwt_authn_access_denied|ext_authz_denied)/;

/** Returns why a proxy refused the call or connection. Undefined if it did not. */
export function refusalOf(fields: LogFields): string | undefined {
  return [fields.response_code_details, fields.connection_termination_details]
    .map(logFieldText)
    .find((details) => details !== undefined && REFUSED.test(details));
}
