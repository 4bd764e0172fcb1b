/**
 * How long what is replaced in Envoy stays for connections that were made by it: a listener, and the clusters and internal listeners that
 * it leads to. An Istio sidecar drains for 45 s. Envoy keeps each replaced listener for all of this time, also where no connection is left:
 * 30 kB, and a file descriptor where it was changed in place (decision 41).
 */
export const DRAIN_SECONDS = 3_600;
