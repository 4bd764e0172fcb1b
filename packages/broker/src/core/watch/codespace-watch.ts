/**
 * Watches the Codespaces of live sessions. The sweep reads the list of all of the organization's Codespaces, and ends
 * sessions if a complete listing shows that their Codespace has ended. A failed or partial listing neither ends nor
 * extends a session, and leases still apply. A single Codespace is rechecked in the list of its developer's Codespaces.
 */

import { z } from 'zod';
import { encodePathSegment, type ReadGithub } from '../../attest/index.ts';
import type { CloseCause } from '../../store/index.ts';
import type { SessionContext } from '../session/context.ts';
import type { Live } from '../session/live.ts';
import { loseFacts } from '../session/touch.ts';
import { type CachedPages, type Listing, readListing } from './read-pages.ts';
import { isSettled } from './rechecks.ts';

/** The Codespace of a live session. */
export interface WatchedCodespace {
  readonly live: Live;
  readonly id: number;
  readonly name: string;
  readonly owner: string;
  /**
   * The login of the account that pays for the Codespace, in lower case. An organization's list contains every
   * Codespace that it pays for.
   */
  readonly payer: string;
}

/** Returns the watched Codespaces of all live sessions. */
export function watchedCodespaces(index: SessionContext['live']): WatchedCodespace[] {
  return [...index.all()].flatMap((live) => toWatchedCodespace(live) ?? []);
}

/** Returns the watched Codespace of a live session, or undefined if the session does not belong to a Codespace. */
export function toWatchedCodespace(live: Live): WatchedCodespace | undefined {
  const { attestation } = live.session;
  const { claims, githubUser } = attestation;
  if (live.ended || attestation.attestor !== 'github-codespace' || !githubUser) return undefined;
  const { codespace_id: id, codespace_name: name, billable_owner: payer } = claims;
  if (typeof id !== 'number' || typeof name !== 'string' || typeof payer !== 'string') return undefined;
  return { live, id, name, owner: githubUser.login, payer: payer.toLowerCase() };
}

const ListedCodespace = z.object({
  id: z.int().positive(),
  name: z.string().min(1).max(100),
  state: z.string().max(50),
});

type ListedCodespace = z.infer<typeof ListedCodespace>;

/** A response page of `GET /orgs/{org}/codespaces` or `GET /orgs/{org}/members/{username}/codespaces`. */
const CodespacePage = z
  .object({ total_count: z.int().nonnegative(), codespaces: z.array(ListedCodespace).max(100) })
  .transform(({ total_count, codespaces }) => ({ total: total_count, items: codespaces }));

/**
 * Indexes a listing by id and by name. If `isWhole` is true, the listing is complete, so a Codespace that is missing
 * from it does not exist.
 */
export function indexCodespaces({ items, consistent }: Listing<ListedCodespace>) {
  const byId = new Map(items.map((one) => [one.id, one]));
  const byName = new Map(items.map((one) => [one.name, one]));
  // If an entry moved between pages and appears twice, another entry may be missing.
  return { byId, byName, isWhole: consistent && byId.size === items.length };
}

/**
 * The status of a Codespace in a listing, and the cause to record if its session is closed for it. `over`: the
 * Codespace has ended, and a single answer is sufficient proof of that. `doubtful`: it is neither clearly running nor
 * clearly ended. `absent`: it is not listed.
 */
type CodespaceStatus = { readonly kind: 'available' } | EndedStatus;

interface EndedStatus {
  readonly kind: 'over' | 'doubtful' | 'absent';
  readonly cause: CloseCause;
  readonly state: string;
}

/**
 * The states in which the container that holds the session's keys is not running, because it was stopped or is being
 * rebuilt. In any other state (`Unknown`, `Unavailable`, `Awaiting`, `Updating`, `Exporting` and future ones), the
 * container may still be running.
 */
const STOPPED: ReadonlySet<string> = new Set([
  ...['Shutdown', 'ShuttingDown', 'Archived', 'Failed', 'Moved'],
  ...['Created', 'Queued', 'Provisioning', 'Starting', 'Rebuilding'],
]);

/** Looks up a Codespace in a list by its id. If it is missing, checks whether another Codespace now uses its name. */
export function statusOf(
  codespace: { readonly id: number; readonly name: string },
  index: ReturnType<typeof indexCodespaces>,
): CodespaceStatus {
  const listed = index.byId.get(codespace.id);
  if (!listed) {
    // Only one Codespace at a time can have a given name.
    const successor = index.byName.get(codespace.name);
    return successor
      ? { kind: 'over', cause: 'workspace_deleted', state: `its name now belongs to ${successor.id}` }
      : { kind: 'absent', cause: 'workspace_deleted', state: 'not listed' };
  }
  const { state } = listed;
  if (state === 'Available') return { kind: 'available' };
  if (state === 'Deleted') return { kind: 'over', cause: 'workspace_deleted', state };
  return { kind: STOPPED.has(state) ? 'over' : 'doubtful', cause: 'workspace_stopped', state };
}

/**
 * Rechecks a single Codespace by looking it up in the complete list of its developer's Codespaces, and closes its
 * session if it has ended. GitHub's answer is inconclusive if the developer is not (or no longer) a member under this
 * login, or if the list changed while it was being read.
 * @param organization the organization that the Codespace belongs to
 * @param witness describes, for the audit log, which queries show that the Codespace has ended
 * @returns whether the session has ended
 * @throws MeshpassError `issuer_unavailable`, `issuer_rate_limited`
 */
export async function recheckCodespace(
  sessions: SessionContext,
  read: ReadGithub,
  organization: string,
  watched: WatchedCodespace,
  witness: string,
  more?: Record<string, unknown>,
): Promise<boolean> {
  const parts = [encodePathSegment(organization), encodePathSegment(watched.owner)];
  if (parts.includes(undefined)) return false;
  const path = `/orgs/${parts[0]}/members/${parts[1]}/codespaces`;
  const listing = await readListing({ read, organization, path, schema: CodespacePage });
  if (!listing) return false;
  const index = indexCodespaces(listing);
  const status = statusOf(watched, index);
  if (status.kind !== 'over' && !(status.kind === 'absent' && index.isWhole)) return false;
  closeCodespaceSession(sessions, watched, status, witness, more);
  return true;
}

/**
 * Closes the session of a Codespace that has ended. By the time this function returns, the session has ended in memory.
 * @param witness describes, for the audit log, which query showed that the Codespace has ended
 */
function closeCodespaceSession(
  sessions: SessionContext,
  { live, id, name, owner }: WatchedCodespace,
  { cause, state }: EndedStatus,
  witness: string,
  more: Record<string, unknown> = {},
): void {
  const detail = { state, witness, ...more };
  loseFacts(sessions, live, [{ kind: 'codespace', id, name, owner }], { cause, detail });
}

/** The maximum number of Codespaces that are rechecked per sweep. The others wait for the next listing. */
const MAX_ASKED_AGAIN = 50;
/**
 * The minimum size of the previous listing for the outage check. If more than half of its entries disappear at once,
 * the new listing is not trusted, because an outage is the more likely explanation.
 */
const MANY = 10;

// How the evidence is described in the audit log.
const LISTED = "the organization's Codespaces";
const CONFIRMED = "the organization's and the developer's Codespaces";

/**
 * Creates the Codespace sweep.
 * @param onFailure called when a recheck fails. The recheck is repeated by the next sweep.
 */
export function createCodespaceSweep(sessions: SessionContext, onFailure: (cause: unknown) => void) {
  const cachedPages: CachedPages<ListedCodespace> = new Map();
  let cachedOrganization = '';
  /** The ids that appeared in earlier listings. The next listing is expected to contain them. */
  let seen: ReadonlySet<number> = new Set();
  /** The sessions whose Codespace was not available in the last listing. */
  let suspects: ReadonlySet<string> = new Set();

  /**
   * Runs a single sweep.
   * @param organization the login of the trusted organization, in lower case
   * @throws MeshpassError `issuer_unavailable`, `issuer_rate_limited`. In this case, no session was ended.
   */
  return async (read: ReadGithub, organization: string): Promise<void> => {
    const part = encodePathSegment(organization);
    if (!part) return;
    if (cachedOrganization !== organization) {
      cachedPages.clear();
      [cachedOrganization, seen, suspects] = [organization, new Set(), new Set()];
    }
    const askedAt = sessions.clock();
    const request = { read, organization, path: `/orgs/${part}/codespaces`, schema: CodespacePage };
    const listing = await readListing({ ...request, cachedPages });
    if (!listing) return;
    const index = indexCodespaces(listing);
    const before = seen;
    const lost = [...before].filter((id) => !index.byId.has(id)).length;
    const isBelievable = index.isWhole && !(before.size >= MANY && lost > before.size / 2);

    const doubted = new Set<string>();
    let asked = 0;
    for (const watched of watchedCodespaces(sessions.live)) {
      if (!isSettled(watched.live.session, askedAt)) continue;
      const { id } = watched.live.session;
      const status = statusOf(watched, index);
      const isAbsent = status.kind === 'absent';
      const isListed = before.has(watched.id) || watched.payer === organization;
      if (status.kind === 'available' || (isAbsent && !isListed)) continue;
      if (status.kind === 'over') closeCodespaceSession(sessions, watched, status, LISTED);
      else if (isAbsent && !isBelievable) {
        if (suspects.has(id)) doubted.add(id);
      } else if (suspects.has(id)) closeCodespaceSession(sessions, watched, status, `${LISTED}, twice`);
      else {
        doubted.add(id);
        if (isAbsent && asked++ < MAX_ASKED_AGAIN)
          await recheckCodespace(sessions, read, organization, watched, CONFIRMED).catch(onFailure);
      }
    }
    suspects = doubted;
    // After a listing that was not trusted, all entries that were seen before it are still expected.
    seen = isBelievable ? new Set(index.byId.keys()) : new Set([...before, ...index.byId.keys()]);
  };
}
