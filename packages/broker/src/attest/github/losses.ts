/**
 * Records losses (facts from GitHub that are known to be no longer true) and doubts (facts that may have changed
 * according to an event). Every positive answer that the broker caches, waits for or bases a decision on is checked
 * against this record. An answer is only valid if the broker has not learned anything new about its subject since the
 * request was sent. The order is determined by a counter instead of a clock, because GitHub's answers can arrive late
 * and out of order. docs/decisions/0013-losses.md lists every cache and explains why.
 */
import type { Attestation } from '@meshpass/identity';
import type { GithubUser } from './api.ts';
import { isTeamById } from './api.ts';

/** A fact that GitHub has confirmed and may revoke later. Organizations, teams and roles are in lower case. */
export type Fact =
  | { readonly kind: 'member'; readonly organization: string; readonly user: GithubUser }
  /** The user is a member of the team, which is given as `ORG/SLUG` or `ORG/#ID`. */
  | { readonly kind: 'team'; readonly team: string; readonly user: GithubUser }
  /** The user has the organization role, which is `ORG/admin` or `ORG/member`. */
  | { readonly kind: 'role'; readonly role: string; readonly user: GithubUser }
  /** The Codespace is running. Its ID is unknown until it has been looked up by name. */
  | { readonly kind: 'codespace'; readonly id?: number; readonly name: string; readonly owner: string }
  /**
   * The GitHub Actions job or run attempt is running. It is identified by its workspace key and by its ID in GitHub's
   * API.
   */
  | { readonly kind: 'job'; readonly job: string; readonly id: number };

/** Describes which facts may have changed according to an event that GitHub's API has not confirmed yet. */
export interface SuspectedChange {
  readonly userId?: number | undefined;
  readonly login?: string | undefined;
  /** A team, as `ORG/SLUG`. All of its members are affected. */
  readonly team?: string | undefined;
  /**
   * The organization of a team that the event identifies only by its slug. The event may concern any team of that
   * organization that the access file identifies by ID, so the members of all of them are affected.
   */
  readonly teams?: string | undefined;
  /** The name of a Codespace. */
  readonly codespace?: string | undefined;
  /** The login of the user whose Codespaces are affected. */
  readonly owner?: string | undefined;
}

/** A loss as it is stored in the database. */
export interface StoredLoss {
  readonly fact: string;
  /** When the fact was lost, in Unix seconds. */
  readonly at: number;
}

export type Losses = ReturnType<typeof createLosses>;

/**
 * How long a positive answer is ignored if it contradicts a recent loss, in seconds. GitHub's servers may disagree with
 * each other for a short time.
 */
export const SETTLE_SECONDS = 10;
/** How long a loss is remembered, in seconds. No session that was opened before the loss can last this long. */
export const LOSS_RETENTION_SECONDS = 24 * 3600;
/**
 * The maximum number of doubts, because anyone who has the stream's token can send many events. When a doubt is
 * evicted, only its count is kept.
 */
const DOUBT_CAPACITY = 50_000;
/**
 * The maximum number of losses (100 MB). Every loss ends or narrows a live session, so there should never be this many
 * in a day.
 */
const LOSS_CAPACITY = 500_000;

interface Loss {
  readonly count: number;
  /** When the fact was lost, in Unix seconds. */
  readonly at: number;
}

/**
 * Creates an empty record for losses and doubts.
 * @param clock returns the current time in Unix milliseconds
 */
export function createLosses(clock: () => number, { lossCapacity = LOSS_CAPACITY } = {}) {
  // Losses and doubts are kept in separate maps so that an unconfirmed doubt never evicts a loss. Both maps are ordered
  // from oldest to newest.
  const lost = new Map<string, Loss>();
  const doubts = new Map<string, number>();
  const listeners: ((loss: StoredLoss) => void)[] = [];
  let count = 0;
  /**
   * Answers that were requested at a lower count than this are invalid, because an entry with this count was evicted.
   */
  let floor = 0;
  /**
   * The time of the latest loss that was evicted to save space, in Unix seconds. Any fact may have been lost up to that
   * time.
   */
  let lostFloor = Number.NEGATIVE_INFINITY;

  const seconds = () => Math.floor(clock() / 1000);
  const putDoubt = (key: string) => {
    doubts.delete(key);
    doubts.set(key, count);
    if (doubts.size <= DOUBT_CAPACITY) return;
    const [oldest, of] = doubts.entries().next().value!;
    doubts.delete(oldest);
    floor = Math.max(floor, of);
  };
  const putLoss = (key: string, at: number) => {
    lost.delete(key);
    lost.set(key, { count: ++count, at });
    for (const [oldest, one] of lost) {
      const isOver = one.at < seconds() - LOSS_RETENTION_SECONDS;
      if (!isOver && lost.size <= lossCapacity) return;
      lost.delete(oldest);
      floor = Math.max(floor, one.count);
      if (!isOver) lostFloor = Math.max(lostFloor, one.at);
    }
  };
  /** Returns the time of the most recent loss that affects the fact, in Unix seconds. */
  const lostAt = (fact: Fact) => Math.max(lostFloor, ...lossKeys(fact).map((key) => lost.get(key)?.at ?? lostFloor));

  return {
    /**
     * Returns the current count. Call this before sending a request, and pass the result to `since` once the answer
     * arrives.
     */
    now: () => count,
    /**
     * Whether the fact was lost or put in doubt after the given count. If so, discard the answer and send the query
     * again.
     */
    since: (fact: Fact, lossCount: number) =>
      lossCount < floor ||
      lossKeys(fact).some((key) => (lost.get(key)?.count ?? 0) > lossCount) ||
      doubtKeys(fact).some((key) => (doubts.get(key) ?? 0) > lossCount),
    /**
     * Whether the fact was lost so recently that some of GitHub's servers may not know about it yet. If so, a positive
     * answer must not be trusted.
     */
    isUnsettled: (fact: Fact) => clock() / 1000 < lostAt(fact) + SETTLE_SECONDS,
    /**
     * Whether the fact was lost, or may have been lost, at or after the given time (in Unix seconds). By default, all
     * remembered losses are considered.
     */
    isLost: (fact: Fact, since: number = 0) => lostAt(fact) >= Math.max(since, seconds() - LOSS_RETENTION_SECONDS),
    /** Records the loss of a fact, as confirmed by GitHub. */
    lose(fact: Fact) {
      const [key] = lossKeys(fact);
      if (key === undefined) return;
      putLoss(key, seconds());
      for (const listener of listeners) listener({ fact: key, at: seconds() });
    },
    doubt(doubt: SuspectedChange) {
      count++;
      for (const key of keysOfDoubt(doubt)) putDoubt(key);
    },
    /** Invalidates all answers that were requested earlier. Call this if the process may have missed a loss. */
    doubtAll() {
      floor = ++count;
    },
    /** Imports the losses that another process recorded. */
    recall(losses: readonly StoredLoss[]) {
      for (const { fact, at } of losses.toSorted((a, b) => a.at - b.at)) putLoss(fact, at);
    },
    /** Registers a listener that is called synchronously with every new loss. */
    onLoss: (listener: (loss: StoredLoss) => void) => void listeners.push(listener),
  };
}

/** Lists the facts that an attestation depends on. Any of them may be lost while the attestation is still in use. */
export function attestationFacts(attestation: Attestation, trusted?: string): readonly Fact[] {
  const { githubUser: user, teams, organizationRoles = [], attestor, claims, workspace } = attestation;
  if (!user) return [];
  const facts: Fact[] = [
    ...teams.map((team): Fact => ({ kind: 'team', team, user })),
    ...organizationRoles.map((role): Fact => ({ kind: 'role', role, user })),
  ];
  if (workspace.kind === 'actions')
    for (const id of [Number(claims.check_run_id), Number(claims.run_id)])
      if (Number.isSafeInteger(id)) facts.push({ kind: 'job', job: workspace.key, id });
  if (attestor !== 'github-codespace') return facts;
  const { codespace_id: id, codespace_name: name } = claims;
  if (typeof id === 'number' && typeof name === 'string')
    facts.push({ kind: 'codespace', id, name, owner: user.login });
  if (trusted !== undefined) facts.push({ kind: 'member', organization: trusted.toLowerCase(), user });
  return facts;
}

/** Removes facts from an attestation. Only teams and roles can be removed. Other kinds of facts are ignored. */
export function withoutFacts(attestation: Attestation, facts: readonly Fact[]): Attestation {
  if (facts.length === 0) return attestation;
  const teams = new Set(facts.flatMap((fact) => (fact.kind === 'team' ? [fact.team] : [])));
  const roles = new Set(facts.flatMap((fact) => (fact.kind === 'role' ? [fact.role] : [])));
  const { organizationRoles = [], ...rest } = attestation;
  const kept = organizationRoles.filter((role) => !roles.has(role));
  return {
    ...rest,
    teams: attestation.teams.filter((team) => !teams.has(team)),
    ...(kept.length > 0 && { organizationRoles: kept }),
  };
}

/**
 * Returns the keys under which the loss of a fact may be stored, starting with the fact's own key. The second key is
 * for users who have left the organization and therefore lost all of its teams and roles.
 */
function lossKeys(fact: Fact): readonly string[] {
  switch (fact.kind) {
    case 'member':
      return [`member ${fact.organization} ${fact.user.id}`];
    case 'team':
      return [`team ${fact.team} ${fact.user.id}`, `member ${fact.team.split('/')[0]} ${fact.user.id}`];
    case 'role':
      return [`role ${fact.role} ${fact.user.id}`, `member ${fact.role.split('/')[0]} ${fact.user.id}`];
    case 'codespace':
      return fact.id === undefined ? [] : [`codespace ${fact.id}`];
    case 'job':
      return [`${fact.job} ${fact.id}`];
  }
}

function doubtKeys(fact: Fact): readonly string[] {
  if (fact.kind === 'job') return [];
  if (fact.kind === 'codespace') return keysOfDoubt({ codespace: fact.name, owner: fact.owner });
  const { id: userId, login } = fact.user;
  if (fact.kind !== 'team') return keysOfDoubt({ userId, login });
  const teams = isTeamById(fact.team) ? fact.team.split('/')[0] : undefined;
  return keysOfDoubt({ userId, login, team: fact.team, teams });
}

function keysOfDoubt(doubt: SuspectedChange): readonly string[] {
  return Object.entries(doubt).flatMap(([name, value]) =>
    value === undefined ? [] : `doubt ${name} ${String(value).toLowerCase()}`,
  );
}
