/** The configuration of each set of grants as edges are told of it: announced by its digest, signed once for all sessions of the set. */
import {
  type ConfigurationStatement,
  grantSet,
  MAX_CONFIGURATION,
  signStatement,
} from '@meshpass/identity/channel/index';
import { sha256Base64url } from '@meshpass/identity/hash';
import type { Session } from '../session/session.ts';
import type { StatementKeys } from './statement-key.ts';

/** Where configurations come from: the relay. */
export interface ConfigurationSource {
  /** Undefined while there is none yet. `body`: what `GET /session/configuration` answers. */
  readonly current: (session: Session) => { readonly version: number; readonly body: Buffer } | undefined;
  /** Gives the session's configuration a version above this one, which it had with other grants. */
  readonly above: (session: Session, version: number) => Promise<unknown>;
  /** Calls the listener after each change of any. @returns stops it */
  readonly onChange: (listener: () => void) => () => void;
}

export interface Announcement {
  readonly set: string;
  readonly version: number;
  readonly digest: string;
  /** A ConfigurationStatement. */
  readonly statement: string;
}

export interface Announcements {
  /** undefined while the set has none, or one that is too large to be carried. */
  readonly of: (session: Session) => Announcement | undefined;
  /** The bytes that were announced last; undefined for any others. */
  readonly content: (set: string, digest: string) => Buffer | undefined;
}

/** Sets of grants that are kept, as at the edges; beyond it the one that was asked for least recently is signed anew when it is. */
const MAX_SETS = 4_096;

/** Signs each version once. */
export function createAnnouncements(source: ConfigurationSource, keys: StatementKeys): Announcements {
  const announced = new Map<string, Announcement & { readonly content: Buffer; readonly kid: string }>();
  return {
    of: (session) => {
      const configuration = source.current(session);
      if (!configuration || configuration.body.length > MAX_CONFIGURATION) return undefined;
      const { version, body: content } = configuration;
      const set = grantSet(session.grants.map((grant) => grant.name));
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
    content: (set, digest) => {
      const found = announced.get(set);
      return found?.digest === digest ? found.content : undefined;
    },
  };
}
