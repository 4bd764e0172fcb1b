/** Bytes both ways between a local connection and a tunnel, with back-pressure and half-close. */
import type { Socket } from 'node:net';
import { writeTogether } from './pass-on.ts';

/**
 * @param first bytes of the client that have been read already
 * @param transform applied to what the client sends; throwing ends both connections
 */
export function carryBytes(
  client: Socket,
  upstream: Socket,
  first?: Buffer,
  transform?: (chunk: Buffer) => Buffer,
): void {
  const fromClient = (chunk: Buffer) => {
    try {
      const bytes = transform ? transform(chunk) : chunk;
      if (bytes.length > 0 && !upstream.write(bytes)) client.pause();
    } catch {
      client.destroy();
    }
  };
  if (first?.length) fromClient(first);
  client.on('data', fromClient);
  upstream.on('data', (chunk: Buffer) => {
    if (!writeTogether(client, chunk)) upstream.pause();
  });
  client.on('drain', () => upstream.resume());
  upstream.on('drain', () => client.resume());
  client.on('end', () => upstream.end());
  upstream.on('end', () => client.end());
  client.on('error', () => client.destroy());
  client.once('close', () => upstream.destroy());
  upstream.once('close', () => {
    if (upstream.readableEnded) client.destroySoon();
    else client.resetAndDestroy(); // cut, not ended: the client must see the difference
  });
}
