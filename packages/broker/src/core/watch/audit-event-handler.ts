/**
 * Handles events from GitHub's audit log. An event by itself proves nothing. Events arrive late, more than once and out
 * of order. By then, a stopped Codespace may be running again, and a former member may have rejoined the team. So the
 * broker queries GitHub about each affected session immediately. It repeats the query a few times, because GitHub's API
 * lags behind its own log.
 */

import type { Attestation } from '@meshpass/identity';
import { isTeamById, type ReadGithub, SETTLE_SECONDS } from '../../attest/index.ts';
import type { SessionContext } from '../session/context.ts';
import type { Live } from '../session/live.ts';
import type { CodespaceEvent, GithubAuditEvent, MemberEvent } from './audit-events.ts';
import { RATE_LIMIT_SHARES, type RateLimiter } from './rate-limiter.ts';
import { recheckMember } from './recheck-member.ts';
import { closeCodespaceSession, recheckCodespace } from './sweep-codespaces.ts';
import { isSettled, toWatchedCodespace, type WatchedCodespace, watchedCodespaces } from './watched-codespaces.ts';

/** An attestation that GitHub has just confirmed, or the id of a Codespace that GitHub has just failed to confirm. */
export type Evidence = { readonly attestation: Attestation } | { readonly codespaceId: number };

/** Waits for the given number of milliseconds. Resolves early if the signal is aborted. */
export type Wait = (ms: number, signal?: AbortSignal) => Promise<void>;

export interface AuditEventHandlerOptions {
  readonly read: ReadGithub;
  readonly rateLimiter: RateLimiter;
  readonly sessions: SessionContext;
  /** Organization that the access file trusts. */
  readonly organization: () => string | undefined;
  /** Whether the organization's last member list contained this user. */
  readonly wasMember: (id: number) => boolean;
  readonly wait: Wait;
  readonly onFailure: (cause: unknown) => void;
}

/** Delays before each successive query after an event, milliseconds. */
const ASK_AFTER_MS = [0, 2_000, 10_000, 30_000];
/** Maximum number of rechecks in progress. The sweeps cover any others. */
const MAX_PENDING = 500;
/** Maximum age (milliseconds) and number of past events that are applied to a newly opened session. */
const RECENT_MS = 60_000;
const MAX_RECENT = 1_000;

/** Creates the audit event handler. */
export function createAuditEventHandler(options: AuditEventHandlerOptions) {
  const { sessions, organization, wait, onFailure } = options;
  const pending = new Map<string, { readonly replaced: AbortController; readonly done: Promise<void> }>();
  let recent: { readonly event: GithubAuditEvent; readonly at: number }[] = [];
  let stopped = false;

  /** Limits the queries, because any client that has the stream's token can trigger them. */
  const mayAsk = options.rateLimiter.allowance(RATE_LIMIT_SHARES.events);
  const read: ReadGithub = async (...question) => {
    if (!mayAsk()) throw new Spent();
    return await options.read(...question);
  };

  /** Repeats a query until an answer is conclusive or a later event replaces the query. */
  const follow = async (live: Live, ask: Ask, replaced: AbortSignal) => {
    for (const delay of ASK_AFTER_MS) {
      const sinceOpening = sessions.clock() - live.session.openedAt * 1000;
      const unsettled = isSettled(live.session, sessions.clock()) ? 0 : SETTLE_SECONDS * 1000 - sinceOpening + 1;
      if (delay > 0 || unsettled > 0) await wait(Math.max(delay, unsettled), replaced);
      if (stopped || replaced.aborted || live.ended) return;
      if (options.rateLimiter.pausedFor() === 0 && (await settles(ask))) return;
    }
  };

  const settles = async (ask: Ask): Promise<boolean> => {
    try {
      return await ask();
    } catch (thrown) {
      // An exhausted share is not logged for every event, because the sweeps continue regardless.
      if (!(thrown instanceof Spent)) onFailure(thrown);
      return false;
    }
  };

  /**
   * Rechecks a Codespace.
   * @param event event that triggered the query; absent if a client's request triggered it
   */
  const askCodespace = async (one: WatchedCodespace, event?: CodespaceEvent): Promise<boolean> => {
    const owner = organization();
    const status = owner && (await recheckCodespace(read, owner, one));
    if (!status || (status.kind !== 'over' && status.kind !== 'absent')) return false;
    const witness = `${event ? "GitHub's audit log" : 'a request'} and the developer's Codespaces`;
    closeCodespaceSession(
      sessions,
      one,
      status,
      witness,
      event && { event: event.action, ...(event.id && { eventId: event.id }) },
    );
    return true;
  };

  const askMemberships = async (live: Live, one: string): Promise<boolean> => {
    const trusted = organization()?.toLowerCase();
    return organizationsOf(live, trusted).has(one) && (await recheckMember({ ...options, read, trusted }, live, one));
  };

  const begin = (key: string, live: Live, ask: Ask) => {
    const before = pending.get(key);
    if (!before && pending.size >= MAX_PENDING) return;
    before?.replaced.abort();
    const replaced = new AbortController();
    // An answer is not evidence about events that arrived after its query was sent, so query again.
    const done = Promise.resolve(before?.done)
      .then(() => follow(live, ask, replaced.signal))
      .catch(onFailure)
      .finally(() => {
        if (pending.get(key)?.replaced === replaced) pending.delete(key);
      });
    pending.set(key, { replaced, done });
  };

  const beginCodespace = (one: WatchedCodespace, event?: CodespaceEvent) =>
    begin(`codespace ${one.live.session.id}`, one.live, () => askCodespace(one, event));

  /** Rechecks each organization separately, because an answer about one says nothing about another. */
  const beginMember = (live: Live, event?: MemberEvent) => {
    for (const one of organizationsOf(live, organization()?.toLowerCase()))
      if (event?.organization === undefined || event.organization === one)
        begin(`member ${one} ${live.session.id}`, live, () => askMemberships(live, one));
  };

  const dispatch = (event: GithubAuditEvent, codespaces: readonly WatchedCodespace[], lives: readonly Live[]) => {
    if (isOfCodespace(event)) {
      for (const one of codespaces) if (concerns(one, event)) beginCodespace(one, event);
    } else {
      for (const live of lives) if (isMember(live, event)) beginMember(live, event);
    }
  };

  return {
    /** Records the events and returns immediately. The queries run in the background. */
    handle(events: readonly GithubAuditEvent[]) {
      if (events.length === 0) return;
      const codespaces = watchedCodespaces(sessions.live);
      const lives = [...sessions.live.all()];
      // Record all events before the first query, to invalidate every earlier answer, including those still in flight.
      for (const event of events) sessions.losses.doubt(doubtOf(event));
      const at = sessions.clock();
      recent = [...recent, ...events.map((event) => ({ event, at }))].slice(-MAX_RECENT);
      for (const event of events) dispatch(event, codespaces, lives);
    },
    /** Applies recent events to a newly opened session, because GitHub's API lags behind its own log. */
    opened(live: Live) {
      const since = sessions.clock() - RECENT_MS;
      const one = toWatchedCodespace(live);
      for (const { event, at } of recent) if (at > since) dispatch(event, one ? [one] : [], [live]);
    },
    /** Rechecks live sessions that GitHub's answer to another request contradicts. */
    considerEvidence(evidence: Evidence) {
      if ('codespaceId' in evidence) {
        for (const one of watchedCodespaces(sessions.live)) if (one.id === evidence.codespaceId) beginCodespace(one);
        return;
      }
      const { githubUser, teams, organizationRoles = [] } = evidence.attestation;
      if (!githubUser) return;
      const has = new Set([...teams, ...organizationRoles]);
      for (const live of sessions.live.all()) {
        const held = live.session.attestation;
        if (held.githubUser?.id !== githubUser.id) continue;
        if ([...held.teams, ...(held.organizationRoles ?? [])].every((one) => has.has(one))) continue;
        beginMember(live);
      }
    },
    stop: () => {
      stopped = true;
    },
  };
}

/** Queries GitHub, and returns whether the answer was conclusive. */
type Ask = () => Promise<boolean>;

/** Thrown when the audit log's share of the rate limit is exhausted for the moment. */
class Spent extends Error {}

function doubtOf(event: GithubAuditEvent) {
  if (isOfCodespace(event)) return event.name === undefined ? { owner: event.owner } : { codespace: event.name };
  const { user: login, userId, team } = event;
  return login === undefined && userId === undefined ? { team, teams: team?.split('/')[0] } : { login, userId };
}

function isOfCodespace(event: GithubAuditEvent): event is CodespaceEvent {
  return event.action.startsWith('codespaces.');
}

function concerns(one: WatchedCodespace, { name, owner }: CodespaceEvent): boolean {
  if (name !== undefined) return one.name === name;
  return owner !== undefined && one.owner.toLowerCase() === owner.toLowerCase();
}

function isMember({ session, ended }: Live, { user, userId, team }: MemberEvent): boolean {
  const { githubUser, teams } = session.attestation;
  if (ended || !githubUser) return false;
  if (userId !== undefined && githubUser.id === userId) return true;
  if (user !== undefined) return githubUser.login.toLowerCase() === user;
  if (userId !== undefined || team === undefined) return false;
  // If the access file identifies a team by id, its slug is unknown, so any such team in the organization matches.
  const [organization] = team.split('/');
  return teams.some((one) => one === team || (isTeamById(one) && one.startsWith(`${organization}/`)));
}

function organizationsOf(live: Live, trusted: string | undefined): ReadonlySet<string> {
  const { teams, organizationRoles = [] } = live.session.attestation;
  const all = new Set([...teams, ...organizationRoles].map((one) => one.split('/')[0]!));
  return trusted !== undefined && toWatchedCodespace(live) ? all.add(trusted) : all;
}
