/**
 * The Unix socket that Envoy uses to reach the agent. It opens before the agent is able to answer, so that an Envoy
 * that starts early can connect immediately. Its requests then wait until the agent serves them. If the connection were
 * refused, Envoy would wait for its retry delay.
 */
import { once } from 'node:events';
import { chmodSync, rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';

export type EnvoySocket = Awaited<ReturnType<typeof openEnvoySocket>>;

/** The maximum number of waiting connections. Envoy opens one connection per thread. */
const MAX_WAITING = 16;

/** Listens on a new Unix socket with mode 0600. */
export async function openEnvoySocket(path: string) {
  const waiting = new Set<Socket>();
  const hold = (connection: Socket) => {
    if (waiting.size >= MAX_WAITING) return void connection.destroy();
    waiting.add(connection);
    connection.once('error', () => connection.destroy());
    connection.once('close', () => waiting.delete(connection));
  };
  let take: (connection: Socket) => void = hold;
  const server = createServer((connection) => take(connection));
  rmSync(path, { force: true });
  await once(server.listen(path), 'listening');
  chmodSync(path, 0o600);
  return {
    path,
    /** Passes all connections to `next`, starting with the ones that are already waiting. */
    serve: (next: (connection: Socket) => void) => {
      take = next;
      for (const connection of waiting) next(connection);
      waiting.clear();
    },
    /** Stops accepting connections and removes the socket. */
    close: () => {
      server.close();
      for (const connection of waiting) connection.destroy();
      rmSync(path, { force: true });
    },
  };
}
