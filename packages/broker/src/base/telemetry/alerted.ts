/**
 * The metric series that the chart's alert rules are based on. They have to be initialized to zero before the first
 * event, because Prometheus does not treat a new series that starts at one as an increase. Otherwise, the first event
 * would not raise an alert, and it might be the only one.
 */

/** The error codes of refusals that raise an alert. */
export const ALERTED_CODES = [
  ...['store_unavailable', 'ca_unavailable', 'kubernetes_unavailable', 'issuer_unavailable', 'issuer_rate_limited'],
  ...['dpop_replayed', 'break_glass_off'],
] as const;

/** The components whose failures raise an alert. */
export const ALERTED_FAILURES = ['audit'] as const;
