/**
 * Series that the chart's alerts count. They start at zero, before the first event. To Prometheus, a series that starts
 * at one has not increased, so the first event, possibly the only one, would raise no alert.
 */

/** Error codes of refusals. */
export const ALERTED_CODES = [
  ...['store_unavailable', 'ca_unavailable', 'kubernetes_unavailable', 'issuer_unavailable', 'issuer_rate_limited'],
  ...['dpop_replayed', 'break_glass_off'],
] as const;

/** Places of failures. */
export const ALERTED_FAILURES = ['audit'] as const;
