/** A process on a host of the lab that takes orders as lines of JSON on standard input and answers each on standard output. */
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Lab } from './lab.ts';

export interface OrderedProcess<Order> {
  /** @throws Error with the problem that the process reported, or with the end of its standard error if it ended */
  order<T>(order: Order): Promise<T>;
  /** SIGKILL. */
  kill(): void;
}

/** @param who for the message when it ends: "the adversarial client" */
export function startOrdered<Order>(lab: Lab, host: string, program: URL, who: string): OrderedProcess<Order> {
  const child = lab.spawn(host, ['node', fileURLToPath(program)]);
  const waiting = new Map<number, PromiseWithResolvers<never>>();
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
  // Writes to a process that has just ended fail with its end.
  child.stdin?.on('error', () => {});
  child.on('exit', (code) => {
    for (const waiter of waiting.values()) waiter.reject(new Error(`${who} ended with ${code}: ${stderr}`));
    waiting.clear();
  });
  return {
    order: (order) => {
      const id = next++;
      const waiter = Promise.withResolvers<never>();
      waiting.set(id, waiter);
      child.stdin!.write(`${JSON.stringify({ id, order })}\n`);
      return waiter.promise;
    },
    kill: () => child.kill('SIGKILL'),
  };
}
