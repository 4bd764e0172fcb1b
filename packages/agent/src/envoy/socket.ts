/**
 * The Unix socket on which Envoy finds the agent, from before the agent can answer: an Envoy that was started early connects at once,
 * and what it asks waits until somebody serves it. Refused, it would come back only after a pause of its own.
 */
import { chmodSync, rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';

export interface EnvoySocket {
  readonly path: string;
  /** From now on connections are given to `take`, those that wait first. */
  serve(take: (connection: Socket) => void): void;
  /** Takes no more connections. */
  close(): void;
}

/** Connections that may wait: an Envoy opens one for each of its threads. */
const MAX_WAITING = 16;

/** Listens on a new Unix socket of mode 0600. */
export async function openEnvoySocket(path: string): Promise<EnvoySocket> {
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
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, () => resolve());
  });
  chmodSync(path, 0o600);
  return {
    path,
    serve: (next) => {
      take = next;
      for (const connection of waiting) next(connection);
      waiting.clear();
    },
    close: () => {
      server.close();
      for (const connection of waiting) connection.destroy();
      rmSync(path, { force: true });
    },
  };
}
