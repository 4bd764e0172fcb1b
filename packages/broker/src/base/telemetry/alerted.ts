/**
 * Series that the chart's alerts count. They are initialized to zero before the first event. Prometheus does not treat
 * a new series that starts at one as an increase, so the first event, possibly the only one, would not raise an alert.
 */

/** Error codes of refusals that raise alerts. */
export const ALERTED_CODES = [
  ...['store_unavailable', 'ca_unavailable', 'kubernetes_unavailable', 'issuer_unavailable', 'issuer_rate_limited'],
  ...['dpop_replayed', 'break_glass_off'],
] as const;

/** Components whose failures raise alerts. */
export const ALERTED_FAILURES = ['audit'] as const;
