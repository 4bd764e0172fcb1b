/** What the active broker says of itself in the store, so that one that waits can tell whether it could take its place. */
import { MeshpassError } from '@meshpass/identity';
import { z } from 'zod';

/** What all brokers of one store must have in common. Of keys, only their public names. */
const Shared = z.object({
  publicUrl: z.string(),
  trustDomain: z.string(),
  tokenAudience: z.string(),
  /** `kid` of each key that its tokens may be signed with. */
  signingKeys: z.array(z.string()),
  /** Verifier keys of the audit log (c2sp.org/signed-note). */
  auditKeys: z.array(z.string()),
});
export type Shared = Readonly<z.infer<typeof Shared>>;

const LeaderRecord = z.object({
  /** For people: host and process. */
  instance: z.string(),
  /** RFC 3339. */
  since: z.string(),
  shared: Shared,
});
export type LeaderRecord = Readonly<z.infer<typeof LeaderRecord>>;

/** @returns undefined where nobody, or a broker of another version, has said anything */
export function readLeaderRecord(text: unknown): LeaderRecord | undefined {
  if (typeof text !== 'string') return undefined;
  try {
    return LeaderRecord.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}

/**
 * A broker that took over with other keys would void every token of the one before, and break the audit log.
 * Of keys one in common is enough: a file that is being changed has the old and the new one.
 * @returns what differs, in words for an operator
 */
function differences(own: Shared, active: Shared): string[] {
  const equal = (['publicUrl', 'trustDomain', 'tokenAudience'] as const)
    .filter((name) => own[name] !== active[name])
    .map((name) => `${WORDS[name]} is ${own[name]} here and ${active[name]} there`);
  const common = (['signingKeys', 'auditKeys'] as const)
    .filter((name) => !own[name].some((key) => active[name].includes(key)))
    .map((name) => `${WORDS[name]} differs; give all brokers the same file`);
  return [...equal, ...common];
}

const WORDS = {
  publicUrl: 'the public URL (--public-url)',
  trustDomain: 'the trust domain (--trust-domain)',
  tokenAudience: 'the audience of tokens (--token-audience)',
  signingKeys: 'the signing key (--signing-key)',
  auditKeys: 'the key of the audit log (--audit-key)',
} as const;

/** @throws MeshpassError `config_invalid` where this broker could not take the place of the active one */
export function refuseDifferent(own: Shared, { instance, shared }: LeaderRecord): void {
  const problems = differences(own, shared);
  if (problems.length === 0) return;
  throw new MeshpassError(
    'config_invalid',
    `This broker cannot stand by for the active one (${instance}): ${problems.join('; ')}.`,
  );
}
