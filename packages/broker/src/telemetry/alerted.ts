/**
 * What the chart's alerts count. These series begin at zero, before anything has happened: to Prometheus a series that begins at one has
 * not increased, so that the first event, which may be the only one, would raise no alert.
 */

/** Codes of refusals. */
export const ALERTED_CODES = [
  ...['store_unavailable', 'ca_unavailable', 'kubernetes_unavailable', 'issuer_unavailable', 'issuer_rate_limited'],
  ...['dpop_replayed', 'break_glass_off'],
] as const;

/** Places of failures. */
export const ALERTED_FAILURES = ['audit'] as const;
