/**
 * Records losses (facts from GitHub that are known to be no longer true) and doubts (facts that may have changed,
 * according to an event). Every positive answer that the broker caches, awaits or bases a decision on is checked
 * against this record. An answer is valid only if the broker has not learned anything about its subject since the
 * request was sent. A counter determines the order instead of a clock, because GitHub's answers arrive late and out of
 * order.
 * docs/decisions/0013-losses.md lists every cache and explains why.
 */
import type { Attestation } from '@meshpass/identity';
import type { GithubUser } from './api.ts';
import { isTeamById } from './api.ts';

/** A fact that GitHub has confirmed and may later revoke. Organizations, teams and roles are lower case. */
export type Fact =
  | { readonly kind: 'member'; readonly organization: string; readonly user: GithubUser }
  /** `ORG/SLUG` */
  | { readonly kind: 'team'; readonly team: string; readonly user: GithubUser }
  /** `ORG/admin`, `ORG/member` */
  | { readonly kind: 'role'; readonly role: string; readonly user: GithubUser }
  /** The Codespace is running. Its id is unknown until it is found by name. */
  | { readonly kind: 'codespace'; readonly id?: number; readonly name: string; readonly owner: string }
  /**
   * The GitHub Actions job or run attempt is running. It is identified by its workspace key and its id in GitHub's API.
   */
  | { readonly kind: 'job'; readonly job: string; readonly id: number };

/** The facts that may have changed according to an event that GitHub has not confirmed yet. */
export interface SuspectedChange {
  readonly userId?: number | undefined;
  readonly login?: string | undefined;
  /** `ORG/SLUG`. All members of the team are affected. */
  readonly team?: string | undefined;
  /**
   * Organization of a team that the event identifies only by its slug. The members of all teams in the organization
   * that are identified by id are affected.
   */
  readonly teams?: string | undefined;
  /** Codespace name. */
  readonly codespace?: string | undefined;
  /** Login of the Codespaces' owner. */
  readonly owner?: string | undefined;
}

/** A loss as stored in the database. */
export interface StoredLoss {
  readonly fact: string;
  /** Unix seconds. */
  readonly at: number;
}

export type Losses = ReturnType<typeof createLosses>;

/**
 * How long a positive answer is ignored if it contradicts a recent loss, seconds. GitHub's servers may briefly disagree
 * with each other.
 */
export const SETTLE_SECONDS = 10;
/** How long a loss is remembered, seconds. Sessions that opened before the loss cannot last that long. */
export const LOSS_RETENTION_SECONDS = 24 * 3600;
/**
 * Maximum number of doubts, because anyone with the stream's token can send many events. If a doubt is evicted, only
 * its count is kept.
 */
const DOUBT_CAPACITY = 50_000;
/** Maximum number of losses (100 MB). Each one ends or narrows a live session, so a day has fewer losses than this. */
const LOSS_CAPACITY = 500_000;

interface Loss {
  readonly count: number;
  /** Unix seconds. */
  readonly at: number;
}

/**
 * Creates an empty record of losses and doubts.
 * @param clock Unix milliseconds
 */
export function createLosses(clock: () => number, { lossCapacity = LOSS_CAPACITY } = {}) {
  // Two separate maps, so that unconfirmed doubts never evict a loss. Both are ordered from oldest to newest.
  const lost = new Map<string, Loss>();
  const doubts = new Map<string, number>();
  const listeners: ((loss: StoredLoss) => void)[] = [];
  let count = 0;
  /** Answers that were requested before this count are invalid, because an entry with this count was evicted. */
  let floor = 0;
  /** Time of the newest loss that was evicted to save space, Unix seconds. Until then, any fact may have been lost. */
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
  /** Returns the time of the last loss that affects the fact, Unix seconds. */
  const lostAt = (fact: Fact) => Math.max(lostFloor, ...lossKeys(fact).map((key) => lost.get(key)?.at ?? lostFloor));

  return {
    /** Returns the current count. Call it before sending a request, and pass the count to `since` with the answer. */
    now: () => count,
    /** Whether the fact was lost or put in doubt after the given count. If so, discard the answer and query again. */
    since: (fact: Fact, lossCount: number) =>
      lossCount < floor ||
      lossKeys(fact).some((key) => (lost.get(key)?.count ?? 0) > lossCount) ||
      doubtKeys(fact).some((key) => (doubts.get(key) ?? 0) > lossCount),
    /**
     * Whether the fact was lost so recently that some of GitHub's servers may not reflect the loss yet. If so, do not
     * trust a positive answer.
     */
    isUnsettled: (fact: Fact) => clock() / 1000 < lostAt(fact) + SETTLE_SECONDS,
    /**
     * Whether the fact was lost, or may have been lost, at or after a time (Unix seconds). Defaults to any time that is
     * remembered.
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
    /** Invalidates all earlier answers. For use if this process may have missed a loss. */
    doubtAll() {
      floor = ++count;
    },
    /** Imports losses that another process has recorded. */
    recall(losses: readonly StoredLoss[]) {
      for (const { fact, at } of losses.toSorted((a, b) => a.at - b.at)) putLoss(fact, at);
    },
    /** Registers a listener. It is called synchronously with each new loss. */
    onLoss: (listener: (loss: StoredLoss) => void) => void listeners.push(listener),
  };
}

/** Lists the facts that an attestation depends on. Each of them may be lost while the attestation is in use. */
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

/** Removes facts from an attestation. Only teams and roles can be removed; other facts are ignored. */
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
 * Returns the keys under which a loss of the fact may be stored. The fact's own key comes first. The other key covers
 * users who left the organization, because they also lose its teams and roles.
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
