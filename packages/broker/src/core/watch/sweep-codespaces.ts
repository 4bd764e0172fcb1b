/**
 * Sweeps all of the organization's Codespaces. Sessions end if a complete listing shows that their Codespace has ended.
 * A failed or partial listing neither ends nor extends a session, and leases still apply.
 */

import { encodePathSegment, type ReadGithub } from '../../attest/index.ts';
import type { CloseCause } from '../../store/index.ts';
import type { SessionContext } from '../session/context.ts';
import { closeSession } from '../session/lifecycle.ts';
import {
  CodespacePage,
  type CodespaceStatus,
  indexCodespaces,
  type ListedCodespace,
  statusOf,
} from './codespace-status.ts';
import { type CachedPages, readListing } from './listing.ts';
import { isSettled, type WatchedCodespace, watchedCodespaces } from './watched-codespaces.ts';

/** Maximum number of Codespaces rechecked per sweep. The rest wait for the next listing. */
const MAX_ASKED_AGAIN = 50;
/**
 * Minimum size of the previous listing for the outage check. If more than half of that many entries disappear at once,
 * the listing is distrusted, because an outage is the likelier explanation.
 */
const MANY = 10;

/**
 * Creates the Codespace sweep.
 * @param onFailure called when a recheck fails. The next sweep retries it.
 */
export function createCodespaceSweep(sessions: SessionContext, onFailure: (cause: unknown) => void) {
  const cachedPages: CachedPages<ListedCodespace> = new Map();
  let cachedOrganization = '';
  /** Ids in earlier listings. The next listing is expected to contain them. */
  let seen: ReadonlySet<number> = new Set();
  /** Sessions whose Codespace was not available in the last listing. */
  let suspects: ReadonlySet<string> = new Set();

  return {
    /**
     * Runs one sweep.
     * @throws MeshpassError `issuer_unavailable`, `issuer_rate_limited`; in this case, no session was ended
     */
    async sweep(read: ReadGithub, organization: string) {
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
        const isListed = before.has(watched.id) || watched.payer === organization.toLowerCase();
        if (status.kind === 'over') closeCodespaceSession(sessions, watched, status, "the organization's Codespaces");
        else if (status.kind === 'doubtful') {
          if (suspects.has(id))
            closeCodespaceSession(sessions, watched, status, "the organization's Codespaces, twice");
          else doubted.add(id);
        } else if (status.kind === 'absent' && isListed) {
          if (!isBelievable) {
            if (suspects.has(id)) doubted.add(id);
          } else if (suspects.has(id))
            closeCodespaceSession(sessions, watched, status, "the organization's Codespaces, twice");
          else {
            doubted.add(id);
            if (asked++ < MAX_ASKED_AGAIN) await confirm(read, organization, watched);
          }
        }
      }
      suspects = doubted;
      // After a distrusted listing, all entries seen before it are still expected.
      seen = isBelievable ? new Set(index.byId.keys()) : new Set([...before, ...index.byId.keys()]);
    },
  };

  async function confirm(read: ReadGithub, organization: string, watched: WatchedCodespace): Promise<void> {
    try {
      const status = await recheckCodespace(read, organization, watched);
      if (status && (status.kind === 'absent' || status.kind === 'over'))
        closeCodespaceSession(sessions, watched, status, "the organization's and the developer's Codespaces");
    } catch (thrown) {
      onFailure(thrown);
    }
  }
}

/**
 * Rechecks a single Codespace by looking it up in the complete list of its developer's Codespaces.
 * @param organization organization that the Codespace belongs to
 * @returns undefined if GitHub's answer is inconclusive, because the developer is not a member under this login (or no
 *   longer is), or because the list changed while it was being read
 * @throws MeshpassError `issuer_unavailable`, `issuer_rate_limited`
 */
export async function recheckCodespace(
  read: ReadGithub,
  organization: string,
  watched: WatchedCodespace,
): Promise<CodespaceStatus | undefined> {
  const parts = [encodePathSegment(organization), encodePathSegment(watched.owner)];
  if (parts.includes(undefined)) return undefined;
  const path = `/orgs/${parts[0]}/members/${parts[1]}/codespaces`;
  const listing = await readListing({ read, organization, path, schema: CodespacePage });
  if (!listing) return undefined;
  const index = indexCodespaces(listing);
  const status = statusOf(watched, index);
  return status.kind === 'absent' && !index.isWhole ? undefined : status;
}

/**
 * Closes the session of a Codespace that has ended.
 * @param witness description of the query that showed it, for the audit log
 */
export function closeCodespaceSession(
  sessions: SessionContext,
  { live, id, name, owner }: WatchedCodespace,
  status: Exclude<CodespaceStatus, { kind: 'available' }>,
  witness: string,
  more: Record<string, unknown> = {},
): void {
  const cause: CloseCause =
    status.kind === 'over' ? status.cause : status.kind === 'absent' ? 'workspace_deleted' : 'workspace_stopped';
  const state = status.kind === 'absent' ? 'not listed' : status.state;
  sessions.losses.lose({ kind: 'codespace', id, name, owner });
  // The session has ended in memory when this returns. The store, edges and mesh are updated later, with retries.
  void closeSession(sessions, live, { cause, detail: { state, witness, ...more } }).catch(sessions.onFailure);
}
