/**
 * Sweeps all of the organization's Codespaces, and ends sessions if a complete listing shows that their Codespace has
 * ended. A failed or partial listing neither ends nor extends a session, and leases still apply.
 */

import { encodePathSegment, type ReadGithub } from '../../attest/index.ts';
import type { SessionContext } from '../session/context.ts';
import { CodespacePage, indexCodespaces, type ListedCodespace, statusOf } from './codespace-status.ts';
import { type CachedPages, readListing } from './listing.ts';
import { closeCodespaceSession, recheckCodespace } from './recheck-codespace.ts';
import { isSettled, watchedCodespaces } from './watched-codespaces.ts';

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

  return {
    /**
     * Runs a single sweep.
     * @throws MeshpassError `issuer_unavailable`, `issuer_rate_limited`. In this case, no session was ended.
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
        const isAbsent = status.kind === 'absent';
        const isListed = before.has(watched.id) || watched.payer === organization.toLowerCase();
        if (status.kind === 'available' || (isAbsent && !isListed)) continue;
        if (status.kind === 'over') closeCodespaceSession(sessions, watched, status, LISTED);
        else if (isAbsent && !isBelievable) {
          if (suspects.has(id)) doubted.add(id);
        } else if (suspects.has(id)) closeCodespaceSession(sessions, watched, status, `${LISTED}, twice`);
        else {
          doubted.add(id);
          if (isAbsent && asked++ < MAX_ASKED_AGAIN)
            await recheckCodespace({ read, sessions, organization }, watched, CONFIRMED).catch(onFailure);
        }
      }
      suspects = doubted;
      // After a listing that was not trusted, all entries that were seen before it are still expected.
      seen = isBelievable ? new Set(index.byId.keys()) : new Set([...before, ...index.byId.keys()]);
    },
  };
}
