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
  /** A configuration is announced, and no lease has said yet which one is current: the next lease does. */
  | { readonly type: 'unsure' }
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
  /** The newest version that the agent has. */
  takenVersion(): number;
}

export interface ReceivedOptions {
  readonly sessionId: string;
  readonly keys: () => readonly StatementKey[];
  /** Of the configuration that the agent has already, however it came; 0: none. */
  readonly heldVersion: () => number;
}

/** Sets of grants whose announcement is kept. */
const MAX_SETS = 4;

export function createReceived({ sessionId, keys, heldVersion }: ReceivedOptions): Received {
  let outstanding: number | undefined;
  /** As the broker said last, with an answer to a lease: what is current, and of which grants. */
  let set: string | undefined;
  let current: number | undefined;
  let came = 0;
  const announced = new Map<string, ConfigurationStatement>();
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
          // Without a version nothing is said of it; with other grants it is another configuration's.
          if (statement.configuration_version !== undefined) current = statement.configuration_version;
          else if (statement.set !== set) current = undefined;
          set = statement.set;
          return { type: 'lease', lease: statement };
        case 'ended':
          return statement.sid === sessionId ? { type: 'ended', ended: statement } : { type: 'stale' };
        case 'configuration':
          if (statement.version <= (announced.get(statement.set)?.version ?? 0)) return { type: 'stale' };
          remember(statement);
          if (wanted() === statement) return { type: 'announced', announced: statement };
          return statement.set === set && current === undefined ? { type: 'unsure' } : { type: 'stale' };
      }
    },
    content(digest, content) {
      const asked = wanted();
      if (asked?.digest !== digest) return { type: 'stale' };
      const bytes = Buffer.from(content, 'base64');
      if (bytes.length !== asked.size || sha256Base64url(bytes) !== digest) return { type: 'forged' };
      came = asked.version;
      return { type: 'configuration', version: came, content: bytes };
    },
    wanted,
    currentVersion: () => current,
    takenVersion: taken,
  };

  function taken(): number {
    return Math.max(came, heldVersion());
  }

  // Before a lease has said what is current an edge could bring what was true a week ago.
  function wanted(): ConfigurationStatement | undefined {
    const found = set === undefined ? undefined : announced.get(set);
    return found && current !== undefined && found.version >= Math.max(current, taken() + 1) ? found : undefined;
  }

  // Of other grants, too: an edge may hear of the session's new ones before the agent.
  function remember(statement: ConfigurationStatement): void {
    announced.delete(statement.set);
    announced.set(statement.set, statement);
    if (announced.size > MAX_SETS) announced.delete(announced.keys().next().value!);
  }
}
