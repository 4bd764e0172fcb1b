/**
 * What GitHub's audit log says is not believed alone: events come late, twice and out of order, and a Codespace that was
 * stopped may long be running again. So GitHub is asked about that Codespace at once, and a few times more while its API
 * lags behind its own log.
 */
import type { RecheckContext } from '../session/recheck.ts';
import { askAgain } from './ask-again.ts';
import type { CodespaceEvent } from './audit-events.ts';
import type { Pace } from './pace.ts';
import type { ReadGithub } from './reader.ts';
import { end } from './sweep-codespaces.ts';
import { isSettled, SETTLE_SECONDS, type Watched, watchedCodespaces } from './watched.ts';

export interface Hearing {
  /** Takes notice; what follows is done afterwards. */
  readonly hear: (events: readonly CodespaceEvent[]) => void;
  readonly stop: () => void;
}

export interface HearingOptions {
  readonly read: ReadGithub;
  readonly pace: Pace;
  readonly sessions: RecheckContext;
  /** That the access file trusts. */
  readonly organization: () => string | undefined;
  readonly wait: (ms: number) => Promise<void>;
  readonly onFailure: (cause: unknown) => void;
}

/** After an event, milliseconds before each question. */
const ASK_AFTER_MS = [0, 2_000, 10_000, 30_000];
/** Codespaces that are being asked about; of more the sweep will tell. */
const MAX_PENDING = 500;

export function createHearing(options: HearingOptions): Hearing {
  const { sessions, organization, wait, onFailure } = options;
  const pending = new Set<string>();
  let stopped = false;

  const follow = async (watched: Watched, event: CodespaceEvent) => {
    for (const ms of ASK_AFTER_MS) {
      if (ms > 0) await wait(ms);
      const sinceOpening = sessions.clock() - watched.openedAt * 1000;
      if (!isSettled(watched, sessions.clock())) await wait(SETTLE_SECONDS * 1000 - sinceOpening + 1);
      const owner = organization();
      if (stopped || watched.live.ended || !owner) return;
      if (await asked(owner, watched, event)) return;
    }
  };

  /** @returns whether that was an answer that settles it */
  const asked = async (owner: string, watched: Watched, event: CodespaceEvent): Promise<boolean> => {
    const { read, pace } = options;
    if (pace.pausedFor() > 0) return false;
    try {
      const word = await askAgain(read, owner, watched);
      if (word?.says !== 'over' && word?.says !== 'absent') return false;
      const witness = 'GitHub’s audit log, and its developer’s Codespaces';
      end(sessions, watched, word, witness, { event: event.action, ...(event.id && { eventId: event.id }) });
      return true;
    } catch (thrown) {
      onFailure(thrown);
      return false;
    }
  };

  return {
    hear(events) {
      const all = watchedCodespaces(sessions.live);
      for (const event of events) {
        for (const watched of all.filter((one) => isMeant(one, event))) {
          const { id } = watched.live.session;
          if (pending.has(id) || pending.size >= MAX_PENDING) continue;
          pending.add(id);
          follow(watched, event)
            .catch(onFailure)
            .finally(() => pending.delete(id));
        }
      }
    },
    stop: () => {
      stopped = true;
    },
  };
}

function isMeant(watched: Watched, { name, owner }: CodespaceEvent): boolean {
  if (name !== undefined) return watched.name === name;
  return owner !== undefined && watched.owner.toLowerCase() === owner.toLowerCase();
}
