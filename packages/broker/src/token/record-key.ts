/** What becomes of a signing key, for the audit log: the whole public key, so that what it signed can be verified for ever. */
import { auditRow, draftEvent } from '../audit/log/event.ts';
import type { publicJwk } from './key-ring.ts';
import type { RotationContext } from './rotation-context.ts';

/** @throws MeshpassError `store_unavailable`: what is not written down must not happen */
export async function recordKey(
  { journal, clock, random }: Pick<RotationContext, 'journal' | 'clock' | 'random'>,
  reason: string,
  jwk: ReturnType<typeof publicJwk>,
  more: Readonly<Record<string, unknown>> = {},
): Promise<void> {
  const draft = { ...draftEvent('key.rotate', {}, clock, random), target: jwk.kid, detail: { jwk, ...more } };
  await journal.write({ audit: [auditRow(draft, 'allowed', reason, undefined, clock())] });
}
