/**
 * What GitHub's audit log says is not believed alone: events come late, twice and out of order, and a Codespace that was
 * stopped may long be running again, as who left a team may be back in it. So GitHub is asked about that session at once, and a
 * few times more while its API lags behind its own log.
 */
import type { Live } from '../session/live.ts';
import type { RecheckContext } from '../session/recheck.ts';
import { askAgain } from './ask-again.ts';
import { askMember } from './ask-member.ts';
import type { AuditEvent, CodespaceEvent, MemberEvent } from './audit-events.ts';
import { type Pace, SHARE } from './pace.ts';
import type { ReadGithub } from './reader.ts';
import { end } from './sweep-codespaces.ts';
import { isSettled, SETTLE_SECONDS, type Watched, watched, watchedCodespaces } from './watched.ts';

export interface Hearing {
  /** Takes notice; what follows is done afterwards. */
  readonly hear: (events: readonly AuditEvent[]) => void;
  readonly stop: () => void;
}

export interface HearingOptions {
  readonly read: ReadGithub;
  readonly pace: Pace;
  readonly sessions: RecheckContext;
  /** That the access file trusts. */
  readonly organization: () => string | undefined;
  /** Whether the last list of that organization had this user. */
  readonly wasMember: (id: number) => boolean;
  readonly wait: (ms: number) => Promise<void>;
  readonly onFailure: (cause: unknown) => void;
}

/** After an event, milliseconds before each question. */
const ASK_AFTER_MS = [0, 2_000, 10_000, 30_000];
/** Questions that are being followed; of more the sweeps will tell. */
const MAX_PENDING = 500;

export function createHearing(options: HearingOptions): Hearing {
  const { sessions, organization, wait, onFailure } = options;
  const pending = new Set<string>();
  let stopped = false;

  /** Whoever has the stream's token makes the broker ask, so what is asked is bounded. */
  const mayAsk = options.pace.allowance(SHARE.events);
  const read: ReadGithub = async (...question) => {
    if (!mayAsk()) throw new Spent();
    return await options.read(...question);
  };

  /** @param ask says whether that was an answer that settles it */
  const follow = async (live: Live, ask: () => Promise<boolean>) => {
    const { openedAt } = live.session;
    for (const ms of ASK_AFTER_MS) {
      if (ms > 0) await wait(ms);
      const sinceOpening = sessions.clock() - openedAt * 1000;
      if (!isSettled(live.session, sessions.clock())) await wait(SETTLE_SECONDS * 1000 - sinceOpening + 1);
      if (stopped || live.ended) return;
      if (options.pace.pausedFor() > 0) continue;
      try {
        if (await ask()) return;
      } catch (thrown) {
        // Not worth a line for each event: the sweeps go on.
        if (!(thrown instanceof Spent)) onFailure(thrown);
      }
    }
  };

  const askCodespace = async (one: Watched, event: CodespaceEvent): Promise<boolean> => {
    const owner = organization();
    const word = owner && (await askAgain(read, owner, one));
    if (!word || (word.says !== 'over' && word.says !== 'absent')) return false;
    const witness = 'GitHub’s audit log, and its developer’s Codespaces';
    end(sessions, one, word, witness, { event: event.action, ...(event.id && { eventId: event.id }) });
    return true;
  };

  const askMemberships = async (live: Live, event: MemberEvent): Promise<boolean> => {
    const trusted = organization()?.toLowerCase();
    let lost = false;
    for (const one of organizationsOf(live, trusted))
      if (event.organization === undefined || event.organization === one)
        lost = (await askMember({ ...options, read, trusted }, live, one)) || lost;
    return lost;
  };

  const begin = (kind: 'codespace' | 'member', live: Live, ask: () => Promise<boolean>) => {
    const key = `${kind} ${live.session.id}`;
    if (pending.has(key) || pending.size >= MAX_PENDING) return;
    pending.add(key);
    follow(live, ask)
      .catch(onFailure)
      .finally(() => pending.delete(key));
  };

  return {
    hear(events) {
      if (events.length === 0) return;
      const codespaces = watchedCodespaces(sessions.live);
      const lives = [...sessions.live.all()];
      for (const event of events) {
        if (isOfCodespace(event)) {
          for (const one of codespaces.filter((each) => isMeant(each, event)))
            begin('codespace', one.live, () => askCodespace(one, event));
        } else {
          for (const live of lives.filter((each) => isMember(each, event)))
            begin('member', live, () => askMemberships(live, event));
        }
      }
    },
    stop: () => {
      stopped = true;
    },
  };
}

/** The share of the audit log is spent for now. */
class Spent extends Error {}

function isOfCodespace(event: AuditEvent): event is CodespaceEvent {
  return event.action.startsWith('codespaces.');
}

function isMeant(one: Watched, { name, owner }: CodespaceEvent): boolean {
  if (name !== undefined) return one.name === name;
  return owner !== undefined && one.owner.toLowerCase() === owner.toLowerCase();
}

function isMember({ session, ended }: Live, { user, userId, team }: MemberEvent): boolean {
  const { githubUser, teams } = session.attestation;
  if (ended || !githubUser) return false;
  if (userId !== undefined && githubUser.id === userId) return true;
  if (user !== undefined) return githubUser.login.toLowerCase() === user;
  return userId === undefined && team !== undefined && teams.includes(team);
}

function organizationsOf(live: Live, trusted: string | undefined): ReadonlySet<string> {
  const { teams, organizationRoles = [] } = live.session.attestation;
  const all = new Set([...teams, ...organizationRoles].map((one) => one.split('/')[0]!));
  return trusted !== undefined && watched(live) ? all.add(trusted) : all;
}
