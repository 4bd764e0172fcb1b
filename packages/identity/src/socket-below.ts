/** Access to the TCP socket beneath a TLS socket. */
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';

/**
 * Returns the TCP socket beneath a TLS socket, because Node.js' TLS server only emits the TLS socket. Addresses do not
 * identify the TCP socket, since one source port can have connections to two addresses of a server. Node.js stores it
 * in the undocumented property `_parent`. If a version of Node.js removes that property, this function returns
 * undefined. The edge then refuses all connections, and the broker reports the problem.
 */
export function socketBelow(tls: TLSSocket): Socket | undefined {
  return (tls as TLSSocket & { readonly _parent?: Socket })._parent;
}
