/** What a rotation of the signing key needs, and its record in the audit log. */
import type { AuditContext } from '../audit/log/decision.ts';
import { auditRow, newEvent } from '../audit/log/event.ts';
import type { Journal } from '../audit/log/journal.ts';
import type { Clock, Random } from '../clock/clock.ts';
import type { MeshState } from '../reconcile/contract.ts';
import type { publicJwk } from './key-ring.ts';
import type { RotationRules } from './next-step.ts';
import type { RotatingSigner } from './signer.ts';

export interface RotationContext extends RotationRules {
  /** For what an operator asks; the broker's own steps are written by recordKey(). */
  readonly audit: AuditContext;
  readonly signer: RotatingSigner;
  readonly mesh: Pick<MeshState, 'tokenKeys' | 'tokenKeysChanged'>;
  readonly journal: Pick<Journal, 'write'>;
  /** Life of the tokens that are given now, seconds. */
  readonly tokenSeconds: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly onFailure: (cause: unknown) => void;
}

/**
 * Writes a change of a signing key to the audit log, with the whole public key, so that what it signed can always be verified.
 * @throws MeshpassError `store_unavailable`: a change that is not recorded must not happen
 */
export async function recordKey(
  { journal, clock, random }: Pick<RotationContext, 'journal' | 'clock' | 'random'>,
  reason: string,
  jwk: ReturnType<typeof publicJwk>,
  more: Readonly<Record<string, unknown>> = {},
): Promise<void> {
  const event = { ...newEvent('key.rotate', {}, clock, random), target: jwk.kid, detail: { jwk, ...more } };
  await journal.write({ audit: [auditRow(event, 'allowed', reason, undefined, clock())] });
}
