/**
 * Sweeps all Codespaces of the organization. It ends the sessions whose Codespace has ended, according to a complete
 * listing. A failed or partial listing neither ends nor extends a session, and leases still apply.
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

/** Maximum Codespaces rechecked per sweep. The rest wait for the next listing. */
const MAX_ASKED_AGAIN = 50;
/**
 * Minimum size from which a listing that lost more than half of its entries is distrusted, because outages look like
 * that.
 */
const MANY = 10;

/**
 * Creates the sweep.
 * @param onFailure receives a recheck's failure; the next sweep tries again
 */
export function createCodespaceSweep(sessions: SessionContext, onFailure: (cause: unknown) => void) {
  const cachedPages: CachedPages<ListedCodespace> = new Map();
  let cachedOrganization = '';
  /** Ids that an earlier listing contained, which are expected in the next one. */
  let seen: ReadonlySet<number> = new Set();
  /** Sessions whose Codespace was not available in the last listing. */
  let suspects: ReadonlySet<string> = new Set();

  return {
    /**
     * Runs one sweep.
     * @throws MeshpassError `issuer_unavailable`, `issuer_rate_limited`; no session was ended then
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
      // After a distrusted listing, the entries before it are still expected.
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
 * Queries a single Codespace: its status in the complete list of its developer's Codespaces.
 * @param organization organization of the Codespace
 * @returns undefined if GitHub's answer is inconclusive: its developer is not (or no longer) a member under this login,
 *   or the list changed while it was read
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
 * @param witness description of the query, for the audit log
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
  // The session has ended in memory when this returns; store, edges and mesh follow, with retries.
  void closeSession(sessions, live, { cause, detail: { state, witness, ...more } }).catch(sessions.onFailure);
}
