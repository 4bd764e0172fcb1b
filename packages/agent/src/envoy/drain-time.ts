/**
 * How long replaced listeners stay open for existing connections, in seconds, along with the clusters and internal
 * listeners behind them. An Istio sidecar drains for 45 seconds. Envoy keeps every replaced listener for the full time,
 * even if it has no connections. This costs 30 kB, plus a file descriptor if the listener was changed in place
 * (decision 41).
 */
export const DRAIN_SECONDS = 3_600;
