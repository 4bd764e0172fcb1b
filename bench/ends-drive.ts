/** Drives a process of bench/ends-client.ts on a host of the lab. */
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Lab } from '@meshpass/lab';
import type { Order } from './ends-client.ts';

export interface Workspaces {
  order<T>(order: Order): Promise<T>;
  /** SIGKILL, as a crash of every agent in it. */
  kill(): void;
}

export function startWorkspaces(lab: Lab, host: string): Workspaces {
  const child = lab.spawn(host, ['node', fileURLToPath(new URL('./ends-client.ts', import.meta.url))]);
  const waiting = new Map<number, { resolve: (value: never) => void; reject: (error: Error) => void }>();
  let next = 0;
  let stderr = '';
  child.stderr?.on('data', (part: Buffer) => {
    stderr = (stderr + part.toString()).slice(-4096);
  });
  createInterface({ input: child.stdout! }).on('line', (line) => {
    const { id, result, error } = JSON.parse(line) as { id: number; result?: never; error?: string };
    const waiter = waiting.get(id);
    waiting.delete(id);
    if (error === undefined) waiter?.resolve(result!);
    else waiter?.reject(new Error(error));
  });
  child.stdin?.on('error', () => {});
  child.on('exit', () => {
    for (const waiter of waiting.values()) waiter.reject(new Error(`the workspaces ended: ${stderr}`));
    waiting.clear();
  });
  return {
    order: (order) => {
      const id = next++;
      return new Promise((resolve, reject) => {
        waiting.set(id, { resolve: resolve as never, reject });
        child.stdin!.write(`${JSON.stringify({ id, order })}\n`);
      });
    },
    kill: () => child.kill('SIGKILL'),
  };
}
