/** Where the API server of Kubernetes is, by the names of Meshpass. */

/**
 * The one thing beside the mesh that an edge connects to, where it is told to: the API server, by the name that every cluster's
 * API server has in its certificate.
 */
export const KUBERNETES_API = { host: 'kubernetes.default.svc', port: 443 } as const;
/** `host:port`, as CONNECT names it. */
export const KUBERNETES_TARGET = `${KUBERNETES_API.host}:${KUBERNETES_API.port}`;
