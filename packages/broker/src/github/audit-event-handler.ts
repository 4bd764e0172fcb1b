/**
 * What GitHub's audit log says is not believed alone: events come late, twice and out of order, and a Codespace that was
 * stopped may long be running again, as who left a team may be back in it. So GitHub is asked about that session at once, and a
 * few times more while its API lags behind its own log.
 */

import type { Evidence } from '../attest/attested.ts';
import { isTeamById } from '../attest/github/api.ts';
import { type Doubt, SETTLE_SECONDS } from '../attest/github/losses.ts';
import type { Wait } from '../clock/timers.ts';
import type { Live } from '../session/live.ts';
import type { RecheckContext } from '../session/recheck.ts';
import type { AuditEvent, CodespaceEvent, MemberEvent } from './audit-events.ts';
import { type RateLimiter, SHARE } from './rate-limiter.ts';
import type { ReadGithub } from './reader.ts';
import { recheckCodespace } from './recheck-codespace.ts';
import { recheckMember } from './recheck-member.ts';
import { closeSessionOf } from './sweep-codespaces.ts';
import { isSettled, type WatchedCodespace, watched, watchedCodespaces } from './watched-codespaces.ts';

export interface AuditEventHandler {
  /** Takes notice; what follows is done afterwards. */
  readonly handle: (events: readonly AuditEvent[]) => void;
  /** A session has opened: what was heard lately may concern it, while GitHub's API lags behind its own log. */
  readonly opened: (live: Live) => void;
  /** What GitHub said to somebody's request may contradict what a live session stands on: it is asked about that session, too. */
  readonly considerEvidence: (evidence: Evidence) => void;
  readonly stop: () => void;
}

export interface AuditEventHandlerOptions {
  readonly read: ReadGithub;
  readonly rateLimiter: RateLimiter;
  readonly sessions: RecheckContext;
  /** That the access file trusts. */
  readonly organization: () => string | undefined;
  /** Whether the last list of that organization had this user. */
  readonly wasMember: (id: number) => boolean;
  readonly wait: Wait;
  readonly onFailure: (cause: unknown) => void;
}

/** After an event, milliseconds before each question. */
const ASK_AFTER_MS = [0, 2_000, 10_000, 30_000];
/** Questions that are being followed; of more the sweeps will tell. */
const MAX_PENDING = 500;
/** So long, milliseconds, and so many events, a session that opens may still be meant by one. */
const RECENT_MS = 60_000;
const MAX_RECENT = 1_000;

export function createAuditEventHandler(options: AuditEventHandlerOptions): AuditEventHandler {
  const { sessions, organization, wait, onFailure } = options;
  const pending = new Map<string, Question>();
  let recent: { readonly event: AuditEvent; readonly at: number }[] = [];
  let stopped = false;

  /** Whoever has the stream's token makes the broker ask, so what is asked is bounded. */
  const mayAsk = options.rateLimiter.allowance(SHARE.events);
  const read: ReadGithub = async (...question) => {
    if (!mayAsk()) throw new Spent();
    return await options.read(...question);
  };

  const follow = async (key: string, live: Live, question: Question) => {
    try {
      for (let step = 0; step < ASK_AFTER_MS.length; ) {
        const sinceOpening = sessions.clock() - live.session.openedAt * 1000;
        const unsettled = isSettled(live.session, sessions.clock()) ? 0 : SETTLE_SECONDS * 1000 - sinceOpening + 1;
        await question.pause(Math.max(ASK_AFTER_MS[step]!, unsettled));
        if (stopped || live.ended) return;
        if (question.takeRestart()) {
          step = 0;
          continue;
        }
        // An answer settles nothing that was heard after its question.
        if (options.rateLimiter.pausedFor() === 0 && (await answers(question)) && !question.isRestarted()) return;
        step = question.takeRestart() ? 0 : step + 1;
      }
    } finally {
      // At once, so that no event restarts what is no longer followed.
      pending.delete(key);
    }
  };

  /** @returns whether that was an answer that settles it */
  const answers = async (question: Question): Promise<boolean> => {
    try {
      return await question.ask();
    } catch (thrown) {
      // Not worth a line for each event: the sweeps go on.
      if (!(thrown instanceof Spent)) onFailure(thrown);
      return false;
    }
  };

  /** @param event what was heard; absent: what was said to a request */
  const askCodespace = async (one: WatchedCodespace, event?: CodespaceEvent): Promise<boolean> => {
    const owner = organization();
    const status = owner && (await recheckCodespace(read, owner, one));
    if (!status || (status.kind !== 'over' && status.kind !== 'absent')) return false;
    const witness = `${event ? 'GitHub’s audit log' : 'a request'}, and its developer’s Codespaces`;
    closeSessionOf(
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
    const inFlight = pending.get(key);
    if (inFlight) return inFlight.restart(ask);
    if (pending.size >= MAX_PENDING) return;
    const question = restartable(ask, wait);
    pending.set(key, question);
    follow(key, live, question).catch(onFailure);
  };

  const beginCodespace = (one: WatchedCodespace, event?: CodespaceEvent) =>
    begin(`codespace ${one.live.session.id}`, one.live, () => askCodespace(one, event));

  /** Each organization by itself: what one says settles nothing about another. */
  const beginMember = (live: Live, event?: MemberEvent) => {
    for (const one of organizationsOf(live, organization()?.toLowerCase()))
      if (event?.organization === undefined || event.organization === one)
        begin(`member ${one} ${live.session.id}`, live, () => askMemberships(live, one));
  };

  const dispatch = (event: AuditEvent, codespaces: readonly WatchedCodespace[], lives: readonly Live[]) => {
    if (isOfCodespace(event)) {
      for (const one of codespaces) if (concerns(one, event)) beginCodespace(one, event);
    } else {
      for (const live of lives) if (isMember(live, event)) beginMember(live, event);
    }
  };

  return {
    handle(events) {
      if (events.length === 0) return;
      const codespaces = watchedCodespaces(sessions.live);
      const lives = [...sessions.live.all()];
      // Before anything is asked: what GitHub said until now counts no more, and what it is just saying neither.
      for (const event of events) sessions.losses.doubt(doubtOf(event));
      const at = sessions.clock();
      recent = [...recent, ...events.map((event) => ({ event, at }))].slice(-MAX_RECENT);
      for (const event of events) dispatch(event, codespaces, lives);
    },
    opened(live) {
      const since = sessions.clock() - RECENT_MS;
      const one = watched(live);
      for (const { event, at } of recent) if (at > since) dispatch(event, one ? [one] : [], [live]);
    },
    considerEvidence(evidence) {
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

type Ask = () => Promise<boolean>;
type Question = ReturnType<typeof restartable>;

/** A question that is asked a few times, until an event has it begin again, with what that event says. */
function restartable(first: Ask, wait: Wait) {
  let ask = first;
  let restarted = false;
  let pausing: AbortController | undefined;
  return {
    ask: () => ask(),
    restart: (next: Ask) => {
      [ask, restarted] = [next, true];
      pausing?.abort();
    },
    /** Whether it was restarted since that was last taken notice of. */
    isRestarted: () => restarted,
    takeRestart: () => {
      const was = restarted;
      restarted = false;
      return was;
    },
    /** Cut short by a restart, also by one that came before it. */
    pause: async (ms: number) => {
      if (ms <= 0 || restarted) return;
      pausing = new AbortController();
      await wait(ms, pausing.signal);
    },
  };
}

/** The share of the audit log is spent for now. */
class Spent extends Error {}

function doubtOf(event: AuditEvent): Doubt {
  if (isOfCodespace(event)) return event.name === undefined ? { owner: event.owner } : { codespace: event.name };
  const { user: login, userId, team } = event;
  return login === undefined && userId === undefined ? { team, teams: team?.split('/')[0] } : { login, userId };
}

function isOfCodespace(event: AuditEvent): event is CodespaceEvent {
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
  // Of a team that is named by id the slug is not known.
  const [organization] = team.split('/');
  return teams.some((one) => one === team || (isTeamById(one) && one.startsWith(`${organization}/`)));
}

function organizationsOf(live: Live, trusted: string | undefined): ReadonlySet<string> {
  const { teams, organizationRoles = [] } = live.session.attestation;
  const all = new Set([...teams, ...organizationRoles].map((one) => one.split('/')[0]!));
  return trusted !== undefined && watched(live) ? all.add(trusted) : all;
}
