/** Access to the TCP socket under a TLS socket. */
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';

/**
 * Returns the TCP socket under a TLS socket. Node's TLS server emits only the TLS socket. Addresses cannot identify the
 * TCP socket, because one source port can have connections to two addresses of a server. Node keeps the TCP socket in
 * the undocumented property `_parent`. If a Node version removes that property, this function returns undefined. The
 * edge then refuses every connection, and the broker reports the problem.
 */
export function socketBelow(tls: TLSSocket): Socket | undefined {
  return (tls as TLSSocket & { readonly _parent?: Socket })._parent;
}
