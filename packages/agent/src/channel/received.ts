/**
 * What an agent believes of what an edge brings: only what the broker has signed, for this session, and not what is older than
 * something that it has said already. No effects: what comes of a statement is the answer.
 */
import {
  type ConfigurationStatement,
  createStatementReader,
  type EndedStatement,
  type LeaseStatement,
  type StatementKey,
} from '@meshpass/identity/channel/statement';
import { sha256Base64url } from '@meshpass/identity/hash';

export type Belief =
  | { readonly type: 'lease'; readonly lease: LeaseStatement }
  | { readonly type: 'ended'; readonly ended: EndedStatement }
  /** Its bytes are to be asked for. */
  | { readonly type: 'announced'; readonly announced: ConfigurationStatement }
  | { readonly type: 'configuration'; readonly version: number; readonly content: Buffer }
  /** Signed with a key that is not known: to be asked for over HTTPS. */
  | { readonly type: 'unknown_key' }
  /** True, perhaps, but of another session or set, or older than what is known. */
  | { readonly type: 'stale' }
  /** No word of the broker's. */
  | { readonly type: 'forged' };

export interface Received {
  /** A lease with this `seq` has been sent: its answer is the next that is believed. */
  sent(seq: number): void;
  statement(text: string): Belief;
  /** Bytes of a configuration. */
  content(digest: string, content: string): Belief;
  /** The configuration that is announced, current, and not taken; undefined where there is none. */
  wanted(): ConfigurationStatement | undefined;
  /** The version that the broker gave to the session last; undefined before its first word of that. */
  currentVersion(): number | undefined;
  /** The newest version whose bytes have come. */
  takenVersion(): number;
}

export interface ReceivedOptions {
  readonly sessionId: string;
  /** See `grantSet`; of the session's grants as they are now. */
  readonly set: () => string;
  readonly keys: () => readonly StatementKey[];
  /** Of the configuration that the agent has already; 0: none. */
  readonly takenVersion: number;
}

export function createReceived({ sessionId, set, keys, takenVersion }: ReceivedOptions): Received {
  let outstanding: number | undefined;
  let current: number | undefined;
  let taken = takenVersion;
  let announced: ConfigurationStatement | undefined;
  let reader = createStatementReader(keys());
  let readerKeys = keys();
  return {
    sent(seq) {
      outstanding = seq;
    },
    statement(text) {
      if (readerKeys !== keys()) {
        readerKeys = keys();
        reader = createStatementReader(readerKeys);
      }
      const read = reader(text);
      if (read.state === 'unknown_key') return { type: 'unknown_key' };
      if (read.state === 'invalid') return { type: 'forged' };
      const { statement } = read;
      switch (statement.kind) {
        case 'lease':
          // Only the answer to what was asked last is fresh: an older one says how things were.
          if (statement.sid !== sessionId || statement.seq !== outstanding) return { type: 'stale' };
          outstanding = undefined;
          current = Math.max(current ?? 0, statement.configuration_version ?? 0);
          return { type: 'lease', lease: statement };
        case 'ended':
          return statement.sid === sessionId ? { type: 'ended', ended: statement } : { type: 'stale' };
        case 'configuration':
          if (statement.set !== set() || statement.version <= Math.max(taken, announced?.version ?? 0)) {
            return { type: 'stale' };
          }
          announced = statement;
          return wanted() ? { type: 'announced', announced: statement } : { type: 'stale' };
      }
    },
    content(digest, content) {
      const asked = wanted();
      if (asked?.digest !== digest) return { type: 'stale' };
      const bytes = Buffer.from(content, 'base64');
      if (bytes.length !== asked.size || sha256Base64url(bytes) !== digest) return { type: 'forged' };
      taken = asked.version;
      announced = undefined;
      return { type: 'configuration', version: taken, content: bytes };
    },
    wanted,
    currentVersion: () => current,
    takenVersion: () => taken,
  };

  // Before the first lease nothing says what is current: an edge could bring what was true a week ago.
  function wanted(): ConfigurationStatement | undefined {
    if (!announced || current === undefined || announced.version < current) return undefined;
    return announced.set === set() ? announced : undefined;
  }
}
