/** What the broker says to agents through an edge: signed, so that an edge can withhold it and nothing else. */
import type { KeyObject } from 'node:crypto';
import { z } from 'zod';
import { type PublicKey, publicKeyOf, readJws, signJws, verifyJws } from './jws.ts';

/** Longest text of a statement. */
export const MAX_STATEMENT = 16_384;
/** Longest configuration that is announced, bytes. */
export const MAX_CONFIGURATION = 24 * 1024 * 1024;
const TYPE = 'meshpass-statement+jwt';

const sid = z.string().min(1).max(64);
const unixSeconds = z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER);
const unixMillis = unixSeconds;
const version = unixSeconds;
const word = z.string().min(1).max(256);

/** Answers the lease proof of the same `seq`: the lease is renewed. */
export const LeaseStatement = z.object({
  kind: z.literal('lease'),
  sid,
  seq: z.number().int().positive(),
  /** The broker's clock. */
  at: unixMillis,
  lease_expires_at: unixSeconds,
  expires_at: unixSeconds,
  services_version: word.optional(),
  /** Ids of the keys that identity tokens verify by. */
  token_keys: z.array(word).max(64).optional(),
  /** The session's grants as they are now, see `grantSet`: they may have become fewer. */
  set: z.string().max(4_096),
  /** Version of the configuration of this set; absent while there is none. */
  configuration_version: version.optional(),
});
export type LeaseStatement = z.infer<typeof LeaseStatement>;

/** The session is over. */
export const EndedStatement = z.object({
  kind: z.literal('ended'),
  sid,
  cause: word,
  reason: z.string().max(1_024),
});
export type EndedStatement = z.infer<typeof EndedStatement>;

/** The configuration of every session with this set of grants. */
export const ConfigurationStatement = z.object({
  kind: z.literal('configuration'),
  /** See `grantSet`. */
  set: z.string().max(4_096),
  version,
  /** SHA-256 of its bytes, base64url. */
  digest: z.string().regex(/^[A-Za-z0-9_-]{43}$/),
  /** Bytes. */
  size: z.number().int().nonnegative().max(MAX_CONFIGURATION),
});
export type ConfigurationStatement = z.infer<typeof ConfigurationStatement>;

export const Statement = z.discriminatedUnion('kind', [LeaseStatement, EndedStatement, ConfigurationStatement]);
export type Statement = z.infer<typeof Statement>;

const Header = z.strictObject({ typ: z.literal(TYPE), alg: z.literal('ES256'), kid: z.string().min(1).max(64) });

/** The name of a set of grants, whatever their order: grants are DNS labels. */
export function grantSet(grants: readonly string[]): string {
  return [...grants].sort().join(',');
}

export function signStatement(statement: Statement, key: { readonly kid: string; readonly privateKey: KeyObject }) {
  return signJws({ typ: TYPE, kid: key.kid }, statement, key.privateKey);
}

/** A key that statements are verified by, as the broker gives it over HTTPS. */
export interface StatementKey extends PublicKey {
  readonly kid: string;
}

export type StatementRead =
  | { readonly state: 'verified'; readonly statement: Statement }
  /** Of a key that is not known here: the broker may have changed its key, or an edge lies. */
  | { readonly state: 'unknown_key' }
  | { readonly state: 'invalid' };

/** Reads statements by these keys, which are imported once. */
export function createStatementReader(keys: readonly StatementKey[]): (text: string) => StatementRead {
  const known = new Map<string, KeyObject>();
  for (const key of keys) {
    const imported = publicKeyOf(key);
    if (imported) known.set(key.kid, imported);
  }
  return (text) => {
    const jws = text.length > MAX_STATEMENT ? undefined : readJws(text);
    const header = Header.safeParse(jws?.header);
    if (!jws || !header.success) return { state: 'invalid' };
    const key = known.get(header.data.kid);
    if (!key) return { state: 'unknown_key' };
    if (!verifyJws(jws, key)) return { state: 'invalid' };
    const statement = Statement.safeParse(jws.claims);
    return statement.success ? { state: 'verified', statement: statement.data } : { state: 'invalid' };
  };
}
