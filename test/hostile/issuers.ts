/** Shared by the hostile ID tokens and forms: the world, and the reader of answers. */
import { randomUUID } from 'node:crypto';
import type { AdversarialClient } from '@meshpass/lab/adversarial-client/drive';
import type { DataPath } from '../mesh.ts';
import type { HostileInput, Outcome } from './area.ts';

export interface Issuers {
  readonly dataPath: DataPath;
  readonly adversary: AdversarialClient;
  readonly dir: string;
  /** Signed before the provider withdrew its keys. */
  withdrawn?: string;
}

export type Input = HostileInput<Issuers>;

/** An engineer who has a grant. */
export const BOB = '00u2bob';

interface Said {
  readonly status: number;
  readonly json: unknown;
}

export function outcomeOf({ status, json }: Said): Outcome {
  const { error_code: code } = (json ?? {}) as { error_code?: string };
  return { accepted: status === 200, answer: `${status} ${code ?? ''}` };
}

/** Two tokens of one second would be the same token, and that is good once. */
export const unique = () => ({ jti: randomUUID() });
