/**
 * Statements from the broker to agents, which are relayed by an edge. They are signed, so an edge can withhold them but
 * cannot change them.
 */
import type { KeyObject } from 'node:crypto';
import { z } from 'zod';
import { parseJws, publicKeyOf, signJws, verifyJws } from '../jws/es256.ts';
import { digest, type PublicKey } from '../schema/fields.ts';

/** The maximum length of a statement in characters. */
export const MAX_STATEMENT_LENGTH = 16_384;
/** The maximum size of a configuration that is announced, in bytes. */
export const MAX_ANNOUNCED_CONFIGURATION_BYTES = 24 * 1024 * 1024;
/** The response header of `GET /session/configuration` that contains the ConfigurationStatement for the body. */
export const CONFIGURATION_HEADER = 'meshpass-configuration';
const TYPE = 'meshpass-statement+jwt';

const sid = z.string().min(1).max(64);
const unixSeconds = z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER);
const unixMillis = unixSeconds;
const version = unixSeconds;
const word = z.string().min(1).max(256);

/** Confirms that the proof with the same `seq` has renewed the lease. */
export const LeaseStatement = z.object({
  kind: z.literal('lease'),
  sid,
  seq: z.number().int().positive(),
  /** The time according to the broker's clock. */
  at: unixMillis,
  lease_expires_at: unixSeconds,
  expires_at: unixSeconds,
  services_version: word.optional(),
  /** The ids of the keys that verify identity tokens. */
  token_keys: z.array(word).max(64).optional(),
  /** The current grants of the session (see `grantSet`). The session may since have lost some of its grants. */
  set: z.string().max(4_096),
  /** The version of the configuration for this set of grants. Absent until a configuration exists. */
  configuration_version: version.optional(),
});
export type LeaseStatement = z.infer<typeof LeaseStatement>;

/** Announces that the session has ended. */
export const EndedStatement = z.object({
  kind: z.literal('ended'),
  sid,
  cause: word,
  reason: z.string().max(1_024),
});
export type EndedStatement = z.infer<typeof EndedStatement>;

/**
 * The header of a configuration. It is the same for every session with this set of grants, regardless of how the bytes
 * are delivered. Versions can only be compared within a set.
 */
export const ConfigurationStatement = z.object({
  kind: z.literal('configuration'),
  /** The set of grants (see `grantSet`). */
  set: z.string().max(4_096),
  version,
  /** The SHA-256 digest of the configuration in base64url. */
  digest,
  /** The size of the configuration in bytes. */
  size: z.number().int().nonnegative().max(MAX_ANNOUNCED_CONFIGURATION_BYTES),
});
export type ConfigurationStatement = z.infer<typeof ConfigurationStatement>;

export const Statement = z.discriminatedUnion('kind', [LeaseStatement, EndedStatement, ConfigurationStatement]);
export type Statement = z.infer<typeof Statement>;

const Header = z.strictObject({ typ: z.literal(TYPE), alg: z.literal('ES256'), kid: z.string().min(1).max(64) });

/**
 * Returns the canonical name of a set of grants, which does not depend on their order. Grants are DNS labels, so `,` is
 * an unambiguous separator.
 */
export function grantSet(grants: readonly string[]): string {
  return [...grants].sort().join(',');
}

/** Signs a statement with the broker's key. */
export function signStatement(statement: Statement, key: { readonly kid: string; readonly privateKey: KeyObject }) {
  return signJws({ typ: TYPE, kid: key.kid }, statement, key.privateKey);
}

/** A key for verifying statements, as the broker publishes it over HTTPS. */
export interface StatementKey extends PublicKey {
  readonly kid: string;
}

export type StatementVerification =
  | { readonly state: 'verified'; readonly statement: Statement }
  /** The signing key is unknown. Either the broker has rotated its key, or an edge has forged the statement. */
  | { readonly state: 'unknown_key' }
  | { readonly state: 'invalid' };

/** Creates a function that reads statements and verifies them with the given keys. Each key is imported only once. */
export function createStatementReader(keys: readonly StatementKey[]): (text: string) => StatementVerification {
  const known = new Map<string, KeyObject>();
  for (const key of keys) {
    const imported = publicKeyOf(key);
    if (imported) known.set(key.kid, imported);
  }
  return (text) => {
    const jws = text.length > MAX_STATEMENT_LENGTH ? undefined : parseJws(text);
    const header = Header.safeParse(jws?.header);
    if (!jws || !header.success) return { state: 'invalid' };
    const key = known.get(header.data.kid);
    if (!key) return { state: 'unknown_key' };
    if (!verifyJws(jws, key)) return { state: 'invalid' };
    const statement = Statement.safeParse(jws.claims);
    return statement.success ? { state: 'verified', statement: statement.data } : { state: 'invalid' };
  };
}
