/**
 * What the broker has learnt to be true no longer, and what it has been told to doubt. Every "yes" that it remembers, is waiting for,
 * or decides on is held against this, so that none outlives a loss: an answer counts only where nothing was learnt about
 * its subject after the question was asked (a count, not a clock: GitHub's answers come late and out of order).
 * docs/decisions/0013-losses.md has the list of everything that remembers, and why.
 */
import type { Attestation } from '@meshpass/identity';
import type { GithubUser } from './api.ts';
import { isTeamById } from './api.ts';

/** Something that GitHub said and may take back. Names of organizations, teams and roles in lower case. */
export type Fact =
  | { readonly kind: 'member'; readonly organization: string; readonly user: GithubUser }
  /** `ORG/SLUG` */
  | { readonly kind: 'team'; readonly team: string; readonly user: GithubUser }
  /** `ORG/admin`, `ORG/member` */
  | { readonly kind: 'role'; readonly role: string; readonly user: GithubUser }
  /** That it runs. The id is not known before it was found by its name. */
  | { readonly kind: 'codespace'; readonly id?: number; readonly name: string; readonly owner: string }
  /** That it runs: a job of GitHub Actions, or the attempt of a run, by its workspace's key and the id in GitHub's API. */
  | { readonly kind: 'job'; readonly job: string; readonly id: number };

/** What an event says may have changed, before GitHub was asked whether it has. */
export interface Doubt {
  readonly userId?: number | undefined;
  readonly login?: string | undefined;
  /** `ORG/SLUG`: of all its members. */
  readonly team?: string | undefined;
  /** Organization of a team of which only the slug is known: of the members of all its teams that are named by id. */
  readonly teams?: string | undefined;
  /** Name of a Codespace. */
  readonly codespace?: string | undefined;
  /** Login of whose Codespaces are meant. */
  readonly owner?: string | undefined;
}

/** A loss as the store keeps it. */
export interface StoredLoss {
  readonly fact: string;
  /** Unix seconds. */
  readonly at: number;
}

export interface Losses {
  /** To be taken before a question is asked: what its answer is held against. */
  readonly now: () => number;
  /** Whether something was learnt about it, or is doubted, since then: the answer does not count, ask again. */
  readonly since: (fact: Fact, asked: number) => boolean;
  /** Lost so lately that a server of GitHub's may not know it: a "yes" is not believed yet. */
  readonly isUnsettled: (fact: Fact) => boolean;
  /** Whether it was lost, or may have been, at this time or later, Unix seconds; default: at any time that is remembered. */
  readonly isLost: (fact: Fact, since?: number) => boolean;
  /** GitHub has confirmed that it is true no longer. */
  readonly lose: (fact: Fact) => void;
  readonly doubt: (doubt: Doubt) => void;
  /** Nothing that was asked before counts: this process may have missed something. */
  readonly doubtAll: () => void;
  /** Takes over what another process has learnt. */
  readonly recall: (losses: readonly StoredLoss[]) => void;
  /** Called with each loss, at once. */
  readonly onLoss: (listener: (loss: StoredLoss) => void) => void;
}

/**
 * GitHub is many servers, and they may contradict each other for a moment. What one of them says so soon after another has said
 * the opposite decides nothing that gives access. Seconds.
 */
export const SETTLE_SECONDS = 10;
/** A loss is remembered for longer than any session that began before it can live. Seconds. */
export const LOSS_SECONDS = 24 * 3600;
/** Events are cheap for whoever has the stream's token. Of a doubt that is forgotten only its count matters. */
const DOUBT_CAPACITY = 50_000;
/** Each loss ends or narrows a live session: more than can end in a day (100 MB). */
const LOSS_CAPACITY = 500_000;

interface Loss {
  readonly count: number;
  /** Unix seconds. */
  readonly at: number;
}

/** @param clock Unix milliseconds */
export function createLosses(clock: () => number, { lossCapacity = LOSS_CAPACITY } = {}): Losses {
  // Apart, so that doubts, which nobody has confirmed, push out no loss. Both: the oldest first.
  const lost = new Map<string, Loss>();
  const doubts = new Map<string, number>();
  const listeners: ((loss: StoredLoss) => void)[] = [];
  let count = 0;
  /** What was asked before this does not count: something that was learnt then has been forgotten. */
  let floor = 0;
  /** When the last loss was learnt for which there was no room, Unix seconds: everything may have been lost then. */
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
      const isOver = one.at < seconds() - LOSS_SECONDS;
      if (!isOver && lost.size <= lossCapacity) return;
      lost.delete(oldest);
      floor = Math.max(floor, one.count);
      if (!isOver) lostFloor = Math.max(lostFloor, one.at);
    }
  };
  /** The last loss that covers it, Unix seconds. */
  const lostAt = (fact: Fact) => Math.max(lostFloor, ...lossKeys(fact).map((key) => lost.get(key)?.at ?? lostFloor));

  return {
    now: () => count,
    since: (fact, asked) =>
      asked < floor ||
      lossKeys(fact).some((key) => (lost.get(key)?.count ?? 0) > asked) ||
      doubtKeys(fact).some((key) => (doubts.get(key) ?? 0) > asked),
    isUnsettled: (fact) => clock() / 1000 < lostAt(fact) + SETTLE_SECONDS,
    isLost: (fact, since = 0) => lostAt(fact) >= Math.max(since, seconds() - LOSS_SECONDS),
    lose(fact) {
      const [key] = lossKeys(fact);
      if (key === undefined) return;
      putLoss(key, seconds());
      for (const listener of listeners) listener({ fact: key, at: seconds() });
    },
    doubt(doubt) {
      count++;
      for (const key of keysOfDoubt(doubt)) putDoubt(key);
    },
    doubtAll() {
      floor = ++count;
    },
    recall(losses) {
      for (const { fact, at } of losses.toSorted((a, b) => a.at - b.at)) putLoss(fact, at);
    },
    onLoss: (listener) => void listeners.push(listener),
  };
}

/** What an attestation stands on; every one of it may be lost while the attestation is used. */
export function factsOf(attestation: Attestation, trusted?: string): readonly Fact[] {
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

/** Under what a loss of it is remembered, its own key first: who leaves an organization is in none of its teams. */
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

function keysOfDoubt(doubt: Doubt): readonly string[] {
  return Object.entries(doubt).flatMap(([name, value]) =>
    value === undefined ? [] : `doubt ${name} ${String(value).toLowerCase()}`,
  );
}
