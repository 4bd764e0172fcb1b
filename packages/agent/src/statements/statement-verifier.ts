/**
 * Decides which statements of the broker to accept, no matter whether an edge or HTTPS delivers them. Accepts only
 * statements that the broker signed for this session and that are not older than a previous one. The agent runs the
 * configuration that its newest lease names. Pure: each result describes the consequence of a statement.
 */
import {
  type ConfigurationStatement,
  createStatementReader,
  type EndedStatement,
  type LeaseStatement,
  type StatementKey,
} from '@meshpass/identity/channel/statement';
import { sha256Base64url } from '@meshpass/identity/hash';

export type ReceivedStatement =
  | { readonly type: 'lease'; readonly lease: LeaseStatement }
  | { readonly type: 'ended'; readonly ended: EndedStatement }
  /** A configuration has been announced. Its bytes must be requested. */
  | { readonly type: 'announced'; readonly announced: ConfigurationStatement }
  /** No lease has confirmed this configuration's set and current version yet. The next lease will. */
  | { readonly type: 'unsure' }
  | { readonly type: 'configuration'; readonly version: number; readonly content: Buffer }
  /** The statement is signed with an unknown key. The current keys must be requested over HTTPS. */
  | { readonly type: 'unknown_key' }
  /** The statement is valid, but out of date or for another session or set. */
  | { readonly type: 'stale' }
  /** The statement was not signed by the broker. */
  | { readonly type: 'forged' };

export type StatementVerifier = ReturnType<typeof createStatementVerifier>;

export interface StatementVerifierOptions {
  readonly sessionId: string;
  /** Returns the broker's current keys. A change replaces the array. */
  readonly keys: () => readonly StatementKey[];
}

/** Maximum number of grant sets for which an announcement is stored. */
const MAX_SETS = 4;

/** Creates the verifier for all statements of a session. */
export function createStatementVerifier({ sessionId, keys }: StatementVerifierOptions) {
  let outstanding: number | undefined;
  /** Grant set and configuration version that the newest lease names. */
  let set: string | undefined;
  let current: number | undefined;
  let taken: ConfigurationStatement | undefined;
  const announced = new Map<string, ConfigurationStatement>();
  let reader = createStatementReader(keys());
  let readerKeys = keys();
  return {
    /** Records that a lease with this `seq` has been sent. Only its answer will be accepted. */
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
    /** Checks the bytes of an announced configuration, which are base64-encoded. */
    content(digest: string, content: string): ReceivedStatement {
      const asked = wanted();
      if (asked?.digest !== digest) return { type: 'stale' };
      return take(asked, Buffer.from(content, 'base64'));
    },
    /**
     * Checks a configuration that the broker itself has sent over HTTPS. It is current even without a lease.
     * @param text header of the configuration
     */
    whole(text: string, content: Buffer): ReceivedStatement {
      const read = verify(text);
      if (read.state === 'unknown_key') return { type: 'unknown_key' };
      if (read.state === 'invalid' || read.statement.kind !== 'configuration') return { type: 'forged' };
      const { statement } = read;
      // Either this response or the lease is older than the session's current grants.
      if (set !== undefined && statement.set !== set) return { type: 'unsure' };
      if (statement.version < (current ?? 0) || has(statement)) return { type: 'stale' };
      return take(statement, content);
    },
    /**
     * Returns the configuration that has been announced and is current, but has not been received yet. Returns
     * undefined if there is none.
     */
    wanted,
    /** Returns the version that the newest lease names, or undefined if the agent already has it. */
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
    // If the lease does not contain a version, the known one remains valid unless the grants have changed.
    if (lease.configuration_version !== undefined) current = lease.configuration_version;
    else if (lease.set !== set) current = undefined;
    set = lease.set;
    return { type: 'lease', lease };
  }

  function announce(statement: ConfigurationStatement): ReceivedStatement {
    if (statement.version <= (announced.get(statement.set)?.version ?? 0)) return { type: 'stale' };
    // Announcements for other grant sets are also stored, because an edge may learn about the session's new grants
    // before the agent does.
    announced.delete(statement.set);
    announced.set(statement.set, statement);
    if (announced.size > MAX_SETS) announced.delete(announced.keys().next().value!);
    // Another broker has taken over and has announced bytes that the agent already has.
    if (taken?.set === statement.set && taken.digest === statement.digest && !has(statement)) taken = statement;
    if (wanted() === statement) return { type: 'announced', announced: statement };
    return statement.set === set && current === undefined ? { type: 'unsure' } : { type: 'stale' };
  }

  /**
   * Whether the agent already has this version of the set or a newer one. Versions of different sets are not
   * comparable.
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
