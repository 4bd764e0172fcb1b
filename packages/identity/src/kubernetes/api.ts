/** Address of the Kubernetes API server. */

/**
 * Host and port of the API server. It is the only target outside the mesh that an edge connects to, and only if this is
 * enabled. The API server's certificate contains this name in every cluster.
 */
export const KUBERNETES_API = { host: 'kubernetes.default.svc', port: 443 } as const;
/** API server address as `host:port`, the format of a CONNECT request. */
export const KUBERNETES_TARGET = `${KUBERNETES_API.host}:${KUBERNETES_API.port}`;
