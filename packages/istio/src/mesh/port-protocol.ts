/** Determines which protocol istiod selects for a Service port. */

/** A protocol that Istio selects. If it is `undeclared`, Istio detects the protocol at run time. */
export type PortProtocol = 'http' | 'http2' | 'tcp' | 'undeclared';

const PROTOCOLS: Readonly<Record<string, PortProtocol>> = {
  http: 'http',
  http_proxy: 'http',
  http2: 'http2',
  grpc: 'http2',
  tcp: 'tcp',
  https: 'tcp',
  tls: 'tcp',
  mongo: 'tcp',
  redis: 'tcp',
  mysql: 'tcp',
};
/**
 * The appProtocol names defined by Kubernetes. If the application handles TLS itself, the mesh treats the connection as
 * plain TCP.
 */
const APP_PROTOCOLS: Readonly<Record<string, PortProtocol>> = {
  'kubernetes.io/h2c': 'http2',
  'kubernetes.io/ws': 'http',
  'kubernetes.io/wss': 'tcp',
};
/**
 * The ports of SMTP, DNS, MySQL and MongoDB. In these protocols the server speaks first, so Istio never sniffs the
 * protocol.
 */
const NEVER_SNIFFED: readonly number[] = [25, 53, 3306, 27017];

/**
 * Whether a port of a Service or container uses TCP, which is the default. A mesh does not carry any other protocol.
 * @example
 * ```ts
 * import { isTcp } from '@meshpass/istio';
 * isTcp({}); // => true
 * isTcp({ protocol: 'UDP' }); // => false
 * ```
 */
export function isTcp({ protocol }: { readonly protocol?: string | undefined }): boolean {
  return (protocol ?? 'TCP') === 'TCP';
}

/**
 * Selects a protocol the way istiod does (pkg/config/kube/conversion.go): by appProtocol, or otherwise by the part of
 * the port name before the first hyphen.
 * @param declared the appProtocol or, if there is none, the name of the port
 * @example
 * ```ts
 * import { protocolOf } from '@meshpass/istio';
 * protocolOf(80, 'http-web'); // => 'http'
 * protocolOf(80, 'web'); // => 'undeclared'
 * protocolOf(3306, 'db'); // => 'tcp'
 * ```
 */
export function protocolOf(port: number, declared: string): PortProtocol {
  const lower = declared.toLowerCase();
  if (Object.hasOwn(APP_PROTOCOLS, declared)) return APP_PROTOCOLS[declared]!;
  if (lower.startsWith('grpc-web')) return 'http2';
  const prefix = lower.split('-')[0]!;
  if (Object.hasOwn(PROTOCOLS, prefix)) return PROTOCOLS[prefix]!;
  return NEVER_SNIFFED.includes(port) ? 'tcp' : 'undeclared';
}
