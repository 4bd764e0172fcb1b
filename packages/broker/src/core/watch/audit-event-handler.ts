/**
 * Handles events from GitHub's audit log. An event alone proves nothing, because events arrive late, more than once and
 * out of order. By the time an event arrives, a stopped Codespace may be running again, and a former member may have
 * rejoined the team. Each event therefore only casts doubt on earlier answers, and the broker rechecks each affected
 * session as soon as it has settled (see rechecks.ts). The recheck ends whatever GitHub no longer confirms (see
 * codespace-watch.ts and member-watch.ts).
 */

import type { Attestation } from '@meshpass/identity';
import { isTeamById, organizationOf } from '../../attest/index.ts';
import type { Evidence } from '../session/context.ts';
import type { Live } from '../session/live.ts';
import type { CodespaceEvent, GithubAuditEvent, MemberEvent } from './audit-events.ts';
import { recheckCodespace, toWatchedCodespace, type WatchedCodespace, watchedCodespaces } from './codespace-watch.ts';
import type { MemberWatch } from './member-watch.ts';
import { createRechecks, type WatchContext } from './rechecks.ts';

/** The maximum age (in milliseconds) and number of past events that are applied to a newly opened session. */
const RECENT_MS = 60_000;
const MAX_RECENT = 1_000;

/** Creates the handler for audit log events. */
export function createAuditEventHandler(context: WatchContext, members: Pick<MemberWatch, 'recheck'>) {
  const { sessions, organization } = context;
  const { clock } = sessions;
  const recheck = createRechecks(context);
  let recent: { readonly event: GithubAuditEvent; readonly at: number }[] = [];

  /**
   * Rechecks a single Codespace.
   * @param event the event that triggered the recheck. Absent if it was triggered by a client's request.
   */
  const doubtCodespace = (one: WatchedCodespace, event?: CodespaceEvent) => {
    const witness = `${event ? "GitHub's audit log" : 'a request'} and the developer's Codespaces`;
    const more = event && { event: event.action, ...(event.id && { eventId: event.id }) };
    recheck('codespace', one.live, async (read) => {
      const owner = organization();
      return owner !== undefined && (await recheckCodespace(sessions, read, owner, one, witness, more));
    });
  };

  /** Rechecks each organization separately, because GitHub's answer about one says nothing about another. */
  const doubtMemberships = (live: Live, event?: MemberEvent) => {
    for (const one of organizationsOf(live, organization())) {
      if (event?.organization !== undefined && event.organization !== one) continue;
      recheck(`member ${one}`, live, async (read) => {
        const trusted = organization();
        return organizationsOf(live, trusted).has(one) && members.recheck(read, trusted, live, one);
      });
    }
  };

  const dispatch = (event: GithubAuditEvent, lives: readonly Live[], codespaces: readonly WatchedCodespace[]) => {
    if (isOfCodespace(event)) {
      for (const one of codespaces.filter((each) => concerns(each, event))) doubtCodespace(one, event);
      return;
    }
    for (const live of lives.filter((each) => isMember(each, event))) doubtMemberships(live, event);
  };

  return {
    /** Records the events and returns immediately. GitHub is queried in the background. */
    handle(events: readonly GithubAuditEvent[]) {
      if (events.length === 0) return;
      // Record all events before sending the first query, so that every earlier answer is invalidated, including those
      // still in flight.
      for (const event of events) sessions.losses.doubt(doubtOf(event));
      const at = clock();
      recent = [...recent, ...events.map((event) => ({ event, at }))].slice(-MAX_RECENT);
      const lives = [...sessions.live.all()];
      const codespaces = watchedCodespaces(sessions.live);
      for (const event of events) dispatch(event, lives, codespaces);
    },
    /** Applies recent events to a newly opened session, because GitHub's API lags behind its own audit log. */
    opened(live: Live) {
      const since = clock() - RECENT_MS;
      const one = toWatchedCodespace(live);
      for (const { event, at } of recent) if (at > since) dispatch(event, [live], one ? [one] : []);
    },
    /** Rechecks live sessions that are contradicted by GitHub's answer to another request. */
    considerEvidence(evidence: Evidence) {
      if ('codespaceId' in evidence) {
        for (const one of watchedCodespaces(sessions.live)) if (one.id === evidence.codespaceId) doubtCodespace(one);
        return;
      }
      for (const live of sessions.live.all())
        if (isContradicted(live.session.attestation, evidence.attestation)) doubtMemberships(live);
    },
  };
}

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
  // If the access file identifies a team by its id, the team's slug is unknown. Any such team in the organization
  // therefore matches.
  return teams.some((one) => one === team || (isTeamById(one) && organizationOf(one) === organizationOf(team)));
}

function organizationsOf(live: Live, trusted: string | undefined): ReadonlySet<string> {
  const all = new Set(membershipsIn(live.session.attestation).map(organizationOf));
  return trusted !== undefined && toWatchedCodespace(live) ? all.add(trusted) : all;
}

/** Whether GitHub no longer confirms memberships that it previously confirmed for the same user. */
function isContradicted(before: Attestation, now: Attestation): boolean {
  const confirmed = membershipsIn(now);
  const isSameUser = now.githubUser !== undefined && before.githubUser?.id === now.githubUser.id;
  return isSameUser && membershipsIn(before).some((one) => !confirmed.includes(one));
}

/** Returns the teams and roles in an attestation. */
function membershipsIn({ teams, organizationRoles = [] }: Attestation): readonly string[] {
  return [...teams, ...organizationRoles];
}
