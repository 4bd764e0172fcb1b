/**
 * Seconds for which replaced listeners, and the clusters and internal listeners behind them, remain for existing
 * connections. An Istio sidecar drains for 45 s. Envoy keeps each replaced listener for the whole time, even without
 * connections. That costs 30 kB, and a file descriptor if the listener was changed in place (decision 41).
 */
export const DRAIN_SECONDS = 3_600;
