/** Access to the TCP socket under a TLS socket. */
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';

/**
 * Returns the TCP socket under a TLS socket. Node's TLS server emits the TLS socket without it, and addresses cannot
 * identify it: one source port can have connections to two addresses of a server. Node keeps the TCP socket in the
 * undocumented `_parent`. If a Node version removes that property, the result is undefined. The edge then refuses every
 * connection and the broker reports it.
 */
export function socketBelow(tls: TLSSocket): Socket | undefined {
  return (tls as TLSSocket & { readonly _parent?: Socket })._parent;
}
