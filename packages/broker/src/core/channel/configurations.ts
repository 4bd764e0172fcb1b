/**
 * Signs the headers of Envoy configurations. The version and digest of each grant set's configuration are signed once
 * and shared by all sessions that have this grant set.
 */

import { sha256Base64url } from '@meshpass/identity';
import {
  type ConfigurationStatement,
  grantSet,
  MAX_ANNOUNCED_CONFIGURATION_BYTES,
  signStatement,
} from '@meshpass/identity/channel';
import { grantsOf, type Session } from '../session/session.ts';
import type { StatementKeys } from './statement-key.ts';

/** Provides Envoy configurations to the control channel. It is implemented by the relay. */
export interface ConfigurationSource {
  /**
   * Returns the session's configuration, or undefined if there is none yet. `body` is the response body of `GET
   * /session/configuration`.
   */
  readonly current: (session: Session) => { readonly version: number; readonly body: Buffer } | undefined;
  /**
   * Registers a listener that is called when any configuration changes.
   * @returns a function that removes the listener
   */
  readonly onChange: (listener: () => void) => () => void;
}

export interface Announcement {
  readonly set: string;
  readonly version: number;
  readonly digest: string;
  /** The signed `ConfigurationStatement`. */
  readonly statement: string;
  /** The raw bytes of the configuration. */
  readonly content: Buffer;
}

/**
 * The maximum number of grant sets to cache, which is the same as on the edges. When the cache is full, the least
 * recently used set is evicted. It is signed again the next time it is needed.
 */
const MAX_SETS = 4_096;

/** Creates a cache of announcements, so that each configuration version is signed only once. */
export function createAnnouncements(source: ConfigurationSource, keys: StatementKeys) {
  const announced = new Map<string, Announcement & { readonly kid: string }>();
  return {
    /**
     * Returns the announcement for the session's grant set, or undefined if the set has no configuration yet or if its
     * configuration is too large.
     */
    of: (session: Session) => {
      const configuration = source.current(session);
      if (!configuration || configuration.body.length > MAX_ANNOUNCED_CONFIGURATION_BYTES) return undefined;
      const { version, body: content } = configuration;
      const set = grantSet(grantsOf(session));
      const key = keys.signing();
      const before = announced.get(set);
      announced.delete(set);
      if (before?.version === version && before.kid === key.kid) {
        announced.set(set, before);
        return before;
      }
      const digest = sha256Base64url(content);
      const claims: ConfigurationStatement = { kind: 'configuration', set, version, digest, size: content.length };
      const announcement = { set, version, digest, content, kid: key.kid, statement: signStatement(claims, key) };
      announced.set(set, announcement);
      if (announced.size > MAX_SETS) announced.delete(announced.keys().next().value!);
      return announcement;
    },
    /**
     * Returns the most recently announced configuration of a grant set, or undefined if its digest differs from
     * `digest`.
     */
    content: (set: string, digest: string) => {
      const found = announced.get(set);
      return found?.digest === digest ? found.content : undefined;
    },
  };
}
