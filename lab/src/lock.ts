/**
 * A lock between the processes of this machine. It is an abstract Unix socket: the kernel frees it when its holder dies,
 * however it dies, so there is nothing stale to clean up.
 */
import { createServer, type Server } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

const RETRY_MS = 50;

/**
 * Runs `work` while no other process on this machine holds `name`.
 * @param waiting called once if another process holds it
 */
export async function withLock<T>(name: string, work: () => Promise<T>, waiting?: () => void): Promise<T> {
  let held = await tryHold(name);
  if (!held) waiting?.();
  while (!held) {
    await sleep(RETRY_MS);
    held = await tryHold(name);
  }
  try {
    return await work();
  } finally {
    const server = held;
    await new Promise((closed) => server.close(closed));
  }
}

function tryHold(name: string): Promise<Server | undefined> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy());
    server.once('error', (error: NodeJS.ErrnoException) =>
      error.code === 'EADDRINUSE' ? resolve(undefined) : reject(error),
    );
    server.listen(`\0meshpass-lab/${name}`, () => resolve(server));
  });
}
