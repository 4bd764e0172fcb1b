/** Signed configuration headers. Each grant set's version and digest are signed once for all sessions with that set. */
import {
  type ConfigurationStatement,
  grantSet,
  MAX_ANNOUNCED_CONFIGURATION_BYTES,
  signStatement,
} from '@meshpass/identity/channel/index';
import { sha256Base64url } from '@meshpass/identity/hash';
import { grantsOf, type Session } from '../session/session.ts';
import type { StatementKeys } from './statement-key.ts';

/** Provides Envoy configurations to the control channel. The relay implements it. */
export interface ConfigurationSource {
  /**
   * Returns the session's configuration, or undefined if it does not exist yet. `body` is the response of
   * `GET /session/configuration`.
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
  /** Signed ConfigurationStatement. */
  readonly statement: string;
  /** Raw bytes of the configuration. */
  readonly content: Buffer;
}

export type Announcements = ReturnType<typeof createAnnouncements>;

/**
 * Maximum number of cached grant sets, the same as on edges. The least recently used set is evicted, and signed again
 * when it is next needed.
 */
const MAX_SETS = 4_096;

/** Creates the cache of announcements. Each configuration version is signed only once. */
export function createAnnouncements(source: ConfigurationSource, keys: StatementKeys) {
  const announced = new Map<string, Announcement & { readonly kid: string }>();
  return {
    /**
     * Returns the announcement for the session's grant set. Returns undefined if the set has no configuration yet, or
     * if its configuration exceeds the maximum size.
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
    /** Returns the most recently announced bytes, or undefined if their digest differs from `digest`. */
    content: (set: string, digest: string) => {
      const found = announced.get(set);
      return found?.digest === digest ? found.content : undefined;
    },
  };
}
