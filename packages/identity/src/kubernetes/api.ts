/** Address that Meshpass uses for the Kubernetes API server. */

/**
 * Host and port of the API server. It is the only target outside the mesh that an edge connects to, and only if
 * enabled. Every cluster's API server has this name in its certificate.
 */
export const KUBERNETES_API = { host: 'kubernetes.default.svc', port: 443 } as const;
/** `host:port`, as in a CONNECT request. */
export const KUBERNETES_TARGET = `${KUBERNETES_API.host}:${KUBERNETES_API.port}`;
