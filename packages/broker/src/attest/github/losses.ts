/**
 * Losses: facts from GitHub that the broker knows are no longer true, and facts that an event has put in doubt. Every
 * positive answer that the broker caches, awaits or decides on is checked against them. An answer counts only if the
 * broker has learned nothing about its subject since sending the request. The order is a counter, not a clock, because
 * GitHub's answers arrive late and out of order. docs/decisions/0013-losses.md lists every cache and explains why.
 */
import type { Attestation } from '@meshpass/identity';
import type { GithubUser } from './api.ts';
import { isTeamById } from './api.ts';

/** Fact that GitHub confirmed and may revoke. Organizations, teams and roles are in lower case. */
export type Fact =
  | { readonly kind: 'member'; readonly organization: string; readonly user: GithubUser }
  /** `ORG/SLUG` */
  | { readonly kind: 'team'; readonly team: string; readonly user: GithubUser }
  /** `ORG/admin`, `ORG/member` */
  | { readonly kind: 'role'; readonly role: string; readonly user: GithubUser }
  /** The Codespace is running. Its id is unknown until it is found by name. */
  | { readonly kind: 'codespace'; readonly id?: number; readonly name: string; readonly owner: string }
  /**
   * The GitHub Actions job, or the run attempt, is running. Identified by its workspace key and the id in GitHub's API.
   */
  | { readonly kind: 'job'; readonly job: string; readonly id: number };

/** Facts that an event may have changed, before GitHub confirms the change. */
export interface SuspectedChange {
  readonly userId?: number | undefined;
  readonly login?: string | undefined;
  /** `ORG/SLUG`; covers all members of the team. */
  readonly team?: string | undefined;
  /**
   * Organization of a team whose event contains only its slug. Covers the members of all its teams that are written by
   * id.
   */
  readonly teams?: string | undefined;
  /** Codespace name. */
  readonly codespace?: string | undefined;
  /** Login of the Codespaces' owner. */
  readonly owner?: string | undefined;
}

/** Loss as stored in the database. */
export interface StoredLoss {
  readonly fact: string;
  /** Unix seconds. */
  readonly at: number;
}

export type Losses = ReturnType<typeof createLosses>;

/**
 * How long a positive answer that contradicts a recent loss gives no access, seconds. GitHub's servers may disagree for
 * a moment.
 */
export const SETTLE_SECONDS = 10;
/** How long a loss is remembered, seconds: longer than any earlier session can live. */
export const LOSS_RETENTION_SECONDS = 24 * 3600;
/** Anyone with the stream's token can send many events. Only the count of an evicted doubt matters. */
const DOUBT_CAPACITY = 50_000;
/** Each loss ends or narrows a live session, so one day has fewer losses than this (100 MB). */
const LOSS_CAPACITY = 500_000;

interface Loss {
  readonly count: number;
  /** Unix seconds. */
  readonly at: number;
}

/**
 * Creates an empty record.
 * @param clock Unix milliseconds
 */
export function createLosses(clock: () => number, { lossCapacity = LOSS_CAPACITY } = {}) {
  // Separate maps, so that unconfirmed doubts never evict a loss. Both are ordered from oldest to newest.
  const lost = new Map<string, Loss>();
  const doubts = new Map<string, number>();
  const listeners: ((loss: StoredLoss) => void)[] = [];
  let count = 0;
  /** Answers requested before this count are void, because an entry from that time was evicted. */
  let floor = 0;
  /** Time of the newest loss evicted for lack of space, Unix seconds. Any fact may have been lost up to then. */
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
  /** Returns the time of the last loss that covers the fact, Unix seconds. */
  const lostAt = (fact: Fact) => Math.max(lostFloor, ...lossKeys(fact).map((key) => lost.get(key)?.at ?? lostFloor));

  return {
    /** Current count. Read it before a request, and pass it to `since` with the answer. */
    now: () => count,
    /** Whether the fact was lost or doubted after that count. If so, discard the answer and query again. */
    since: (fact: Fact, asked: number) =>
      asked < floor ||
      lossKeys(fact).some((key) => (lost.get(key)?.count ?? 0) > asked) ||
      doubtKeys(fact).some((key) => (doubts.get(key) ?? 0) > asked),
    /**
     * Whether the fact was lost so recently that some of GitHub's servers may not know yet. A positive answer is not
     * trusted for now.
     */
    isUnsettled: (fact: Fact) => clock() / 1000 < lostAt(fact) + SETTLE_SECONDS,
    /**
     * Whether the fact was lost, or may have been lost, at or after this time in Unix seconds; defaults to any remembered
     * time.
     */
    isLost: (fact: Fact, since: number = 0) => lostAt(fact) >= Math.max(since, seconds() - LOSS_RETENTION_SECONDS),
    /** Records a loss that GitHub has confirmed. */
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
    /** Invalidates all earlier answers, because this process may have missed a loss. */
    doubtAll() {
      floor = ++count;
    },
    /** Imports losses recorded by another process. */
    recall(losses: readonly StoredLoss[]) {
      for (const { fact, at } of losses.toSorted((a, b) => a.at - b.at)) putLoss(fact, at);
    },
    /** Registers a listener that is called synchronously with each loss. */
    onLoss: (listener: (loss: StoredLoss) => void) => void listeners.push(listener),
  };
}

/** Lists the facts that an attestation depends on. Any of them may be lost while the attestation is in use. */
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

/** Removes facts from an attestation. Only teams and roles can be removed. */
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
 * Keys under which a loss of the fact is stored, starting with its own. Leaving an organization also ends membership in
 * its teams.
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
