/**
 * What a change of the signing key needs next. A new key is published first, and signs only after whoever verifies has had
 * it for a while; the old one is published until its last token has expired. Every step is read off the ring as it stands
 * in its file, so a broker that was killed goes on where it was.
 */
import type { KeyRing } from './key-ring.ts';

export interface RotationRules {
  /** A key that has signed for so long is changed, seconds; 0: only when an operator asks for it. */
  readonly ageSeconds: number;
  /** How long the mesh must have had a new key before it signs, seconds. */
  readonly waitSeconds: number;
}

export type Step =
  /** Make a key, to be published. */
  | { readonly do: 'make' }
  /** Note that the mesh has the next key. */
  | { readonly do: 'note'; readonly kid: string }
  /** Sign with the next key, and retire the one that signed. */
  | { readonly do: 'sign'; readonly kid: string }
  /** Publish these no more. */
  | { readonly do: 'drop'; readonly kids: readonly string[] };

/**
 * @param inMesh whether sidecars have been told of a key (RFC 7638 thumbprint)
 * @param now Unix seconds
 * @returns undefined where nothing is to be done now
 */
export function nextStep(
  { signing, next, retired }: KeyRing,
  rules: RotationRules,
  inMesh: (kid: string) => boolean,
  now: number,
): Step | undefined {
  const over = retired.filter(({ until }) => until !== undefined && until <= now);
  if (over.length > 0) return { do: 'drop', kids: over.map(({ kid }) => kid) };
  if (!next) return rules.ageSeconds > 0 && now >= signing.since + rules.ageSeconds ? { do: 'make' } : undefined;
  if (!inMesh(next.kid)) return undefined;
  if (next.publishedAt === undefined) return { do: 'note', kid: next.kid };
  return now >= next.publishedAt + rules.waitSeconds ? { do: 'sign', kid: next.kid } : undefined;
}
