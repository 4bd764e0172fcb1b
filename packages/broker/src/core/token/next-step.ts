/**
 * Plans the next step of a key rotation. The next key is not used for signing until verifiers have had it for a while.
 * The previous key stays published until the last of its tokens has expired. Each step depends only on the key ring, so
 * a broker that was restarted continues from the stored keys.
 */
import type { KeyRing } from './key-ring.ts';

/** The timing of key rotations. */
export interface RotationRules {
  /** How long a key may be used for signing, in seconds. If 0, keys are rotated only when an operator requests it. */
  readonly ageSeconds: number;
  /** How long the mesh must have had a key before it may be used for signing, in seconds. */
  readonly waitSeconds: number;
}

/** A step of a key rotation. */
export type Step =
  /** Record that the mesh has the next key. */
  | { readonly do: 'note'; readonly kid: string }
  /** Start signing with the next key, and retire the current one. */
  | { readonly do: 'sign'; readonly kid: string }
  /** Stop publishing these keys. */
  | { readonly do: 'drop'; readonly kids: readonly string[] };

/**
 * Returns the step that is due.
 * @param inMesh returns whether sidecars have received the key with the given RFC 7638 thumbprint
 * @param now the current time, in Unix seconds
 * @returns undefined if no step is due
 */
export function nextRotationStep(
  ring: KeyRing,
  rules: RotationRules,
  inMesh: (kid: string) => boolean,
  now: number,
): Step | undefined {
  const { next, retired } = ring;
  const over = retired.filter(({ until }) => until <= now);
  if (over.length > 0) return { do: 'drop', kids: over.map(({ kid }) => kid) };
  if (!inMesh(next.kid)) return undefined;
  if (next.publishedAt === undefined) return { do: 'note', kid: next.kid };
  return isRotationDue(ring, rules, now) && now >= next.publishedAt + rules.waitSeconds
    ? { do: 'sign', kid: next.kid }
    : undefined;
}

/**
 * Whether the signing key is due for rotation. The rotation happens as soon as the next key may be used for signing.
 */
export function isRotationDue({ signing, requestedAt }: KeyRing, { ageSeconds }: RotationRules, now: number): boolean {
  return requestedAt !== undefined || (ageSeconds > 0 && now >= signing.since + ageSeconds);
}
