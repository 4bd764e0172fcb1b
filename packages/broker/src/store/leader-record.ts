/**
 * Defines the record that the active broker keeps in the store. Waiting brokers use it to check whether they would be
 * able to take over.
 */
import { MeshpassError } from '@meshpass/identity';
import { z } from 'zod';

/** Settings that must be identical for all brokers sharing a store. Keys are represented by their public names. */
const Shared = z.object({
  publicUrl: z.string(),
  trustDomain: z.string(),
  tokenAudience: z.string(),
  /** The `kid` of every key that may sign tokens. */
  signingKeys: z.array(z.string()),
  /** The verifier keys of the audit log (c2sp.org/signed-note). */
  auditKeys: z.array(z.string()),
});
export type SharedSettings = Readonly<z.infer<typeof Shared>>;

const LeaderRecord = z.object({
  /** The host and process, for display to operators. */
  instance: z.string(),
  /** When the broker became active, in RFC 3339 format. */
  since: z.string(),
  shared: Shared,
});
export type LeaderRecord = Readonly<z.infer<typeof LeaderRecord>>;

/**
 * Parses the record of the active broker.
 * @returns undefined if there is no record, or if it was written in a different format by another version
 */
export function parseLeaderRecord(text: unknown): LeaderRecord | undefined {
  if (typeof text !== 'string') return undefined;
  try {
    return LeaderRecord.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}

/**
 * Compares the settings of two brokers. If a broker with different keys took over, all previous tokens would become
 * invalid and the audit log would break. One key in common is enough, because the file contains both the old and the
 * new key during a key change.
 * @returns the differences, described for an operator
 */
function differences(own: SharedSettings, active: SharedSettings): string[] {
  const equal = (['publicUrl', 'trustDomain', 'tokenAudience'] as const)
    .filter((name) => own[name] !== active[name])
    .map((name) => `${WORDS[name]} is ${own[name]} here but ${active[name]} on the active broker`);
  const common = (['signingKeys', 'auditKeys'] as const)
    .filter((name) => !own[name].some((key) => active[name].includes(key)))
    .map((name) => `${WORDS[name]} differs: use the same file for all brokers`);
  return [...equal, ...common];
}

const WORDS = {
  publicUrl: 'the public URL (--public-url)',
  trustDomain: 'the trust domain (--trust-domain)',
  tokenAudience: 'the token audience (--token-audience)',
  signingKeys: 'the signing key (--signing-key-secret)',
  auditKeys: 'the audit log key (--audit-key)',
} as const;

/**
 * Refuses to wait for an active broker whose settings differ.
 * @throws MeshpassError `config_invalid` if this broker could not take over
 */
export function requireSameSettings(own: SharedSettings, { instance, shared }: LeaderRecord): void {
  const problems = differences(own, shared);
  if (problems.length === 0) return;
  throw new MeshpassError(
    'config_invalid',
    `This broker cannot stand by for the active broker (${instance}): ${problems.join('; ')}.`,
  );
}
