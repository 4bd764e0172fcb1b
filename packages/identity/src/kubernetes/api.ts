/** The address of the Kubernetes API server. */

/**
 * The host and port of the API server. This is the only target outside the mesh that an edge may connect to, and only
 * if this is enabled. In every cluster, the API server's certificate contains this name.
 */
export const KUBERNETES_API = { host: 'kubernetes.default.svc', port: 443 } as const;
/** The API server's address as `host:port`, which is the format of a CONNECT request. */
export const KUBERNETES_TARGET = `${KUBERNETES_API.host}:${KUBERNETES_API.port}`;
