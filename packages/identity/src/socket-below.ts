/** Which TCP socket a TLS socket runs on, as an object. */
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';

/**
 * Node's TLS server announces a TLS socket without the TCP socket that it was given, and addresses do not tell: one source
 * port towards two addresses of a server is two connections. Node keeps the TCP socket in `_parent`, which is not documented;
 * should a version of Node keep it no more, this is undefined: the edge lets nobody in then, and the broker says so.
 */
export function socketBelow(tls: TLSSocket): Socket | undefined {
  return (tls as TLSSocket & { readonly _parent?: Socket })._parent;
}
