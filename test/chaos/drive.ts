/** Drives crowds (crowd.ts) on hosts of the lab. */
import { readFileSync } from 'node:fs';
import type { Lab } from '@meshpass/lab';
import { startOrdered } from '@meshpass/lab/ordered-process';
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
  const { order, kill } = startOrdered<Order>(
    lab,
    host,
    new URL('./crowd.ts', import.meta.url),
    `the crowd on ${host}`,
  );
  await order({ do: 'begin', broker, ca: readFileSync(lab.testCa, 'utf8'), pace });
  return {
    host,
    join: (as, { token, codespace }) => order({ do: 'join', as, token, codespace }),
    leave: (as, how) => order({ do: 'leave', as, how }),
    report: () => order({ do: 'report' }),
    holds: (session) => order({ do: 'holds', session }),
    misuse: (session) => order({ do: 'misuse', session }),
    steal: (session) => order({ do: 'steal', session }),
    end: kill,
  };
}
