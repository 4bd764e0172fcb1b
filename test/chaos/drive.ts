/** Drives crowds (crowd.ts) on hosts of the lab. */
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Lab } from '@meshpass/lab';
import type { Misused, Order, Report, Stolen } from './crowd.ts';

export interface Crowd {
  readonly host: string;
  /** @returns id of the session */
  join(as: string, proof: { readonly token: string; readonly codespace: string }): Promise<string>;
  leave(as: string, how: 'goodbye' | 'vanish'): Promise<void>;
  report(): Promise<Report>;
  /** Whether a member of it has had this session. */
  holds(session: string): Promise<boolean>;
  misuse(session: string): Promise<Misused>;
  steal(session: string): Promise<Stolen>;
  end(): void;
}

/** @param pace ms between two calls of a member */
export async function startCrowd(lab: Lab, host: string, broker: string, pace: number): Promise<Crowd> {
  const child = lab.spawn(host, ['node', fileURLToPath(new URL('./crowd.ts', import.meta.url))]);
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
  child.stdin?.on('error', () => {});
  child.on('exit', () => {
    for (const waiter of waiting.values()) waiter.reject(new Error(`the crowd on ${host} ended: ${stderr}`));
  });
  const order = <T>(what: Order): Promise<T> => {
    const id = next++;
    const waiter = Promise.withResolvers<never>();
    waiting.set(id, waiter);
    child.stdin!.write(`${JSON.stringify({ id, order: what })}\n`);
    return waiter.promise;
  };
  await order({ do: 'begin', broker, ca: readFileSync(lab.testCa, 'utf8'), pace });
  return {
    host,
    join: (as, { token, codespace }) => order({ do: 'join', as, token, codespace }),
    leave: (as, how) => order({ do: 'leave', as, how }),
    report: () => order({ do: 'report' }),
    holds: (session) => order({ do: 'holds', session }),
    misuse: (session) => order({ do: 'misuse', session }),
    steal: (session) => order({ do: 'steal', session }),
    end: () => child.kill('SIGKILL'),
  };
}
