/**
 * Decides which of the broker's statements to accept, whether an edge or HTTPS delivers them: only those that the
 * broker signed for this session, and none older than a previous one. The agent runs the configuration that its newest
 * lease names. Pure: each result describes the consequence of a statement.
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
  /** The configuration's bytes must be requested. */
  | { readonly type: 'announced'; readonly announced: ConfigurationStatement }
  /** No lease has named this configuration's set and its current version yet. The next lease will. */
  | { readonly type: 'unsure' }
  | { readonly type: 'configuration'; readonly version: number; readonly content: Buffer }
  /** Signed with an unknown key, which must be requested over HTTPS. */
  | { readonly type: 'unknown_key' }
  /** Valid, but for another session or set, or out of date. */
  | { readonly type: 'stale' }
  /** Not signed by the broker. */
  | { readonly type: 'forged' };

export type StatementVerifier = ReturnType<typeof createStatementVerifier>;

export interface StatementVerifierOptions {
  readonly sessionId: string;
  /** The broker's current keys. A change replaces the array. */
  readonly keys: () => readonly StatementKey[];
}

/** Maximum number of grant sets with a stored announcement. */
const MAX_SETS = 4;

/** Creates the verifier for all of a session's statements. */
export function createStatementVerifier({ sessionId, keys }: StatementVerifierOptions) {
  let outstanding: number | undefined;
  /** Grant set and version that the newest lease names. */
  let set: string | undefined;
  let current: number | undefined;
  let taken: ConfigurationStatement | undefined;
  const announced = new Map<string, ConfigurationStatement>();
  let reader = createStatementReader(keys());
  let readerKeys = keys();
  return {
    /** Records that a lease with this `seq` was sent. Only its answer will be accepted. */
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
    /** Checks the base64-encoded bytes of an announced configuration. */
    content(digest: string, content: string): ReceivedStatement {
      const asked = wanted();
      if (asked?.digest !== digest) return { type: 'stale' };
      return take(asked, Buffer.from(content, 'base64'));
    },
    /**
     * Checks a configuration that the broker itself sent over HTTPS. It is current even without a lease.
     * @param text the configuration's header
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
    /** Returns the announced, current configuration that has not been received yet, or undefined if there is none. */
    wanted,
    /** Returns the version that the newest lease names if the agent does not have it, otherwise undefined. */
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
    // If the lease has no version, the known one remains valid unless the grants changed.
    if (lease.configuration_version !== undefined) current = lease.configuration_version;
    else if (lease.set !== set) current = undefined;
    set = lease.set;
    return { type: 'lease', lease };
  }

  function announce(statement: ConfigurationStatement): ReceivedStatement {
    if (statement.version <= (announced.get(statement.set)?.version ?? 0)) return { type: 'stale' };
    // Stores announcements for other grants as well, because an edge may find out about the session's new grants before
    // the agent does.
    announced.delete(statement.set);
    announced.set(statement.set, statement);
    if (announced.size > MAX_SETS) announced.delete(announced.keys().next().value!);
    // Another broker has taken over and announces bytes that the agent already has.
    if (taken?.set === statement.set && taken.digest === statement.digest && !has(statement)) taken = statement;
    if (wanted() === statement) return { type: 'announced', announced: statement };
    return statement.set === set && current === undefined ? { type: 'unsure' } : { type: 'stale' };
  }

  /** Whether the agent has this version of the set, or a newer one. Versions of other sets are not comparable. */
  function has(one: { readonly set: string; readonly version: number }): boolean {
    return taken?.set === one.set && taken.version >= one.version;
  }

  function take(statement: ConfigurationStatement, content: Buffer): ReceivedStatement {
    if (content.length !== statement.size || sha256Base64url(content) !== statement.digest) return { type: 'forged' };
    taken = statement;
    return { type: 'configuration', version: statement.version, content };
  }

  // Until a lease states the current version, an edge could replay a configuration that is a week old.
  function wanted(): ConfigurationStatement | undefined {
    const found = set === undefined ? undefined : announced.get(set);
    return found && current !== undefined && found.version >= current && !has(found) ? found : undefined;
  }
}
