/** What a change of the key that signs tokens stands on. */
import type { Journal } from '../audit/log/journal.ts';
import type { Clock, Random } from '../clock/clock.ts';
import type { MeshState } from '../reconcile/contract.ts';
import type { RotationRules } from './next-step.ts';
import type { RotatingSigner } from './signer.ts';

export interface RotationContext extends RotationRules {
  readonly signer: RotatingSigner;
  readonly mesh: Pick<MeshState, 'tokenKeys' | 'tokenKeysChanged'>;
  readonly journal: Pick<Journal, 'write'>;
  /** Life of the tokens that are given now, seconds. */
  readonly tokenSeconds: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly onFailure: (cause: unknown) => void;
}
