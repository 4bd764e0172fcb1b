/**
 * Decides which statements to accept from the broker, whether they arrive through an edge or over HTTPS. A statement is
 * only accepted if the broker signed it for this session and it is not older than a previous one. The agent runs the
 * configuration that its newest lease refers to. This module has no side effects: each result describes what to do
 * about a statement.
 */
import { sha256Base64url } from '@meshpass/identity';
import {
  type ConfigurationStatement,
  createStatementReader,
  type EndedStatement,
  type LeaseStatement,
  type StatementKey,
} from '@meshpass/identity/channel';

export type ReceivedStatement =
  | { readonly type: 'lease'; readonly lease: LeaseStatement }
  | { readonly type: 'ended'; readonly ended: EndedStatement }
  /** A configuration has been announced. Its content must be requested. */
  | { readonly type: 'announced'; readonly announced: ConfigurationStatement }
  /** No lease has confirmed this configuration's grant set and current version yet. The next lease will. */
  | { readonly type: 'unsure' }
  | { readonly type: 'configuration'; readonly version: number; readonly content: Buffer }
  /** The statement is signed with an unknown key. The current keys must be requested over HTTPS. */
  | { readonly type: 'unknown_key' }
  /** The statement is valid, but out of date or for a different session or grant set. */
  | { readonly type: 'stale' }
  /** The statement was not signed by the broker. */
  | { readonly type: 'forged' };

export type StatementVerifier = ReturnType<typeof createStatementVerifier>;

export interface StatementVerifierOptions {
  readonly sessionId: string;
  /** Returns the broker's current keys. If they have changed, it returns a different array. */
  readonly keys: () => readonly StatementKey[];
}

/** The maximum number of grant sets for which an announcement is stored. */
const MAX_SETS = 4;

/** Creates the verifier for all statements of a session. */
export function createStatementVerifier({ sessionId, keys }: StatementVerifierOptions) {
  let outstanding: number | undefined;
  /** The grant set of the newest lease. `current` is the configuration version that the lease refers to. */
  let set: string | undefined;
  let current: number | undefined;
  let taken: ConfigurationStatement | undefined;
  const announced = new Map<string, ConfigurationStatement>();
  let reader = createStatementReader(keys());
  let readerKeys = keys();
  return {
    /**
     * Records that a lease with the given `seq` has been sent. From then on, only the answer to that lease is accepted.
     */
    sent(seq: number) {
      outstanding = seq;
    },
    statement(text: string): ReceivedStatement {
      const read = verify(text);
      if (read.state !== 'verified') return { type: read.state === 'invalid' ? 'forged' : 'unknown_key' };
      const { statement } = read;
      switch (statement.kind) {
        case 'lease':
          return renewed(statement);
        case 'ended':
          return statement.sid === sessionId ? { type: 'ended', ended: statement } : { type: 'stale' };
        case 'configuration':
          return announce(statement);
      }
    },
    /** Checks the content of an announced configuration, which is base64-encoded. */
    content(digest: string, content: string): ReceivedStatement {
      const asked = wanted();
      if (asked?.digest !== digest) return { type: 'stale' };
      return take(asked, Buffer.from(content, 'base64'));
    },
    /**
     * Checks a configuration that the broker itself has sent over HTTPS, which is current even without a lease.
     * @param text the signed header of the configuration
     */
    whole(text: string, content: Buffer): ReceivedStatement {
      const read = verify(text);
      if (read.state === 'unknown_key') return { type: 'unknown_key' };
      if (read.state === 'invalid' || read.statement.kind !== 'configuration') return { type: 'forged' };
      const { statement } = read;
      // Either this response or the lease is older than the current grants of the session.
      if (set !== undefined && statement.set !== set) return { type: 'unsure' };
      if (statement.version < (current ?? 0) || has(statement)) return { type: 'stale' };
      return take(statement, content);
    },
    /**
     * Returns the configuration that has been announced and is current, but has not been received yet. Returns
     * undefined if there is none.
     */
    wanted,
    /** Returns the version that the newest lease refers to, or undefined if the agent already has it. */
    missing: () => (set === undefined || current === undefined || has({ set, version: current }) ? undefined : current),
  };

  function verify(text: string) {
    if (readerKeys !== keys()) {
      readerKeys = keys();
      reader = createStatementReader(readerKeys);
    }
    return reader(text);
  }

  function renewed(lease: LeaseStatement): ReceivedStatement {
    // Only the answer to the latest request is fresh. Older answers describe the past.
    if (lease.sid !== sessionId || lease.seq !== outstanding) return { type: 'stale' };
    outstanding = undefined;
    // If the lease does not contain a version, the known version remains valid unless the grants have changed.
    if (lease.configuration_version !== undefined) current = lease.configuration_version;
    else if (lease.set !== set) current = undefined;
    set = lease.set;
    return { type: 'lease', lease };
  }

  function announce(statement: ConfigurationStatement): ReceivedStatement {
    if (statement.version <= (announced.get(statement.set)?.version ?? 0)) return { type: 'stale' };
    // Announcements for other grant sets are stored as well, because an edge may learn about the session's new grants
    // before the agent does.
    announced.delete(statement.set);
    announced.set(statement.set, statement);
    if (announced.size > MAX_SETS) announced.delete(announced.keys().next().value!);
    // Another broker has taken over and announced content that the agent already has.
    if (taken?.set === statement.set && taken.digest === statement.digest && !has(statement)) taken = statement;
    if (wanted() === statement) return { type: 'announced', announced: statement };
    return statement.set === set && current === undefined ? { type: 'unsure' } : { type: 'stale' };
  }

  /**
   * Returns whether the agent already has this version of the grant set, or a newer one. Versions of different grant
   * sets cannot be compared.
   */
  function has(one: { readonly set: string; readonly version: number }): boolean {
    return taken?.set === one.set && taken.version >= one.version;
  }

  function take(statement: ConfigurationStatement, content: Buffer): ReceivedStatement {
    if (content.length !== statement.size || sha256Base64url(content) !== statement.digest) return { type: 'forged' };
    taken = statement;
    return { type: 'configuration', version: statement.version, content };
  }

  // Until a lease confirms the current version, an edge could replay a configuration that is a week old.
  function wanted(): ConfigurationStatement | undefined {
    const found = set === undefined ? undefined : announced.get(set);
    return found && current !== undefined && found.version >= current && !has(found) ? found : undefined;
  }
}
