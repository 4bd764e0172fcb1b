/** Dependencies of a key rotation, and its record in the audit log. */
import { type AuditContext, auditRow, type Journal, newEvent } from '../../audit/index.ts';
import type { Clock, Random } from '../../base/index.ts';
import type { MeshState } from '../../mesh/index.ts';
import type { publicJwk } from './key-ring.ts';
import type { RotationRules } from './next-step.ts';
import type { RotatingSigner } from './signer.ts';

/** Dependencies of a key rotation. */
export interface RotationContext extends RotationRules {
  /** Records operators' requests; recordKey() records the broker's own steps. */
  readonly audit: AuditContext;
  readonly signer: RotatingSigner;
  readonly mesh: Pick<MeshState, 'tokenKeys' | 'tokenKeysChanged'>;
  readonly journal: Pick<Journal, 'transaction'>;
  /** Lifetime of new tokens, seconds. */
  readonly tokenSeconds: number;
  readonly clock: Clock;
  readonly random: Random;
  /** Whether this process is known to be the active broker at this instant. */
  readonly isLeader: () => boolean;
  /** Makes all agents renew their leases at once, so that they find out which keys are dropped. */
  readonly renewLeases: () => void;
  readonly onFailure: (cause: unknown) => void;
}

/**
 * Records a key change in the audit log, with the complete public key, so that signatures by the key can always be
 * verified.
 * @throws MeshpassError `store_unavailable`: a change must not happen unrecorded
 */
export async function recordKey(
  { journal, clock, random }: Pick<RotationContext, 'journal' | 'clock' | 'random'>,
  reason: string,
  jwk: ReturnType<typeof publicJwk>,
  more: Readonly<Record<string, unknown>> = {},
): Promise<void> {
  const event = { ...newEvent('key.rotate', {}, clock, random), target: jwk.kid, detail: { jwk, ...more } };
  const row = auditRow(event, 'allowed', reason, undefined, clock());
  await journal.transaction((tx) => tx.audit(row));
}
