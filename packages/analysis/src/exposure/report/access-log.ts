/**
 * Lines of access logs that Istio's gateways and sidecars write. Source: Istio's documentation, "Envoy Access Logs"
 * (JSON encoding), and Envoy's "Access logging".
 */

import { record, text } from '@meshpass/istio/members';

/** Fields of a line. Formats may omit any of them. */
export type LogFields = Readonly<Record<string, unknown>>;

/** Fields that show the host or the destination; a line with none of them is another kind of log. */
const FIELDS = ['authority', 'upstream_cluster', 'requested_server_name'];

/** Reads a line; undefined if it is not an access log in JSON. */
export function parseLogFields(line: string): LogFields | undefined {
  try {
    const fields: LogFields = record(JSON.parse(line));
    return FIELDS.some((name) => Object.hasOwn(fields, name)) ? fields : undefined;
  } catch {
    return undefined;
  }
}

/** Returns a field's text. Envoy writes `null` or `-` for a value that does not exist. */
export function logFieldText(value: unknown): string | undefined {
  const found = text(value);
  return found === undefined || found === '-' || found === '' ? undefined : found;
}

/** Path without query, as policies compare it. */
export function pathOf(fields: LogFields): string | undefined {
  return logFieldText(fields.path)?.replace(/[?#].*$/s, '');
}

/** Details of a response that a proxy sends because it refuses the caller. */
const REFUSED = /^(?:rbac_access_denied|jwt_authn_access_denied|ext_authz_denied)/;

/** Why a proxy refused the call or connection; undefined if it did not. */
export function refusalOf(fields: LogFields): string | undefined {
  return [fields.response_code_details, fields.connection_termination_details]
    .map(logFieldText)
    .find((details) => details !== undefined && REFUSED.test(details));
}
