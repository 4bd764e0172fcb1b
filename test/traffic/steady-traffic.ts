/** Steady traffic from a host of the lab while a test makes changes that must not affect it. */
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Lab } from '@meshpass/lab';
import { expect } from 'vitest';
import { until } from '../mesh.ts';
import type { Account } from './steady-traffic-main.ts';

export interface SteadyTraffic {
  /** Calls so far, and failed ones. */
  seen(): Account;
  /** Resolves when every kind of traffic has gone on for a while from now; fails where any request has failed. */
  goesOn(): Promise<void>;
  /** Ends it. @returns the whole account */
  end(): Promise<Account>;
}

const KINDS = 4;
/** How often each kind must have worked to count as going on. */
const TIMES = 10;

/** Starts it and waits until all of it flows. */
export async function startTraffic(lab: Lab, host: string): Promise<SteadyTraffic> {
  const child = lab.spawn(host, ['node', fileURLToPath(new URL('./steady-traffic-main.ts', import.meta.url))]);
  let account: Account = { done: {}, failures: [] };
  let stderr = '';
  child.stderr?.on('data', (part: Buffer) => {
    stderr = (stderr + part.toString()).slice(-4096);
  });
  createInterface({ input: child.stdout! }).on('line', (line) => {
    account = JSON.parse(line) as Account;
  });
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const traffic: SteadyTraffic = {
    seen: () => account,
    goesOn: async () => {
      const before = account.done;
      await until(
        () => account,
        ({ done, failures }) => {
          // A list of objects would be printed as their number only.
          expect(failures.slice(0, 3).map(({ at, what, why }) => `${at} ${what}: ${why}`)).toEqual([]);
          if (child.exitCode !== null) throw new Error(`the traffic ended: ${stderr}`);
          const kinds = Object.entries(done).filter(([kind, count]) => count >= (before[kind] ?? 0) + TIMES);
          return kinds.length === KINDS;
        },
        60,
      );
    },
    end: async () => {
      child.stdin?.end();
      await ended;
      expect(child.exitCode, stderr).toBe(0);
      return account;
    },
  };
  await traffic.goesOn();
  return traffic;
}
