/**
 * One look at all Codespaces of the organisation, and the end of the sessions whose Codespace GitHub says is over. Only a
 * whole listing is believed; who cannot be asked, or answers in part, ends nothing and keeps nothing: leases go on.
 */
import { pathPart } from '../attest/github/api.ts';
import { closeSession } from '../session/lifecycle.ts';
import type { RecheckContext } from '../session/recheck.ts';
import type { CloseCause } from '../store/close-causes.ts';
import {
  CodespacePage,
  type CodespaceStatus,
  indexCodespaces,
  type ListedCodespace,
  statusOf,
} from './codespace-status.ts';
import { type CachedPages, readListing } from './listing.ts';
import type { ReadGithub } from './reader.ts';
import { recheckCodespace } from './recheck-codespace.ts';
import { isSettled, type WatchedCodespace, watchedCodespaces } from './watched-codespaces.ts';

export interface CodespaceSweep {
  /**
   * @param onCost told of each call that counts
   * @throws MeshpassError `issuer_unavailable`, `issuer_rate_limited`: nothing was ended then
   */
  readonly sweep: (organization: string, onCost: () => void) => Promise<void>;
}

export interface CodespaceSweepOptions {
  readonly read: ReadGithub;
  readonly sessions: RecheckContext;
  /** Asking again about one Codespace failed: it is left to the next sweep. */
  readonly onFailure: (cause: unknown) => void;
}

/** Codespaces asked about by themselves in one sweep; the others wait for the next listing. */
const MAX_ASKED_AGAIN = 50;
/** A listing that lost more than half of so many or more is not believed about what is missing: that is how outages look. */
const MANY = 10;

export function createCodespaceSweep({ read, sessions, onFailure }: CodespaceSweepOptions): CodespaceSweep {
  const cachedPages: CachedPages<ListedCodespace> = new Map();
  let cachedOrganization = '';
  /** Ids of Codespaces that a listing had: these it must go on having. */
  let seen: ReadonlySet<number> = new Set();
  /** By session: the last listing did not call it available, either. */
  let suspects: ReadonlySet<string> = new Set();

  return {
    async sweep(organization, onCost) {
      const part = pathPart(organization);
      if (!part) return;
      if (cachedOrganization !== organization) {
        cachedPages.clear();
        [cachedOrganization, seen, suspects] = [organization, new Set(), new Set()];
      }
      const askedAt = sessions.clock();
      const request = { read, organization, path: `/orgs/${part}/codespaces`, schema: CodespacePage };
      const listing = await readListing({ ...request, cachedPages, onCost });
      if (!listing) return;
      const index = indexCodespaces(listing);
      const before = seen;
      const lost = [...before].filter((id) => !index.byId.has(id)).length;
      const isBelievable = index.isWhole && !(before.size >= MANY && lost > before.size / 2);

      const doubted = new Set<string>();
      let asked = 0;
      for (const watched of watchedCodespaces(sessions.live)) {
        if (!isSettled(watched, askedAt)) continue;
        const { id } = watched.live.session;
        const status = statusOf(watched, index);
        const isListed = before.has(watched.id) || watched.payer === organization.toLowerCase();
        if (status.kind === 'over') closeSessionOf(sessions, watched, status, 'the organization’s Codespaces');
        else if (status.kind === 'doubtful') {
          if (suspects.has(id)) closeSessionOf(sessions, watched, status, 'the organization’s Codespaces, twice');
          else doubted.add(id);
        } else if (status.kind === 'absent' && isListed) {
          if (!isBelievable) {
            if (suspects.has(id)) doubted.add(id);
          } else if (suspects.has(id))
            closeSessionOf(sessions, watched, status, 'the organization’s Codespaces, twice');
          else {
            doubted.add(id);
            if (asked++ < MAX_ASKED_AGAIN) await confirm(organization, watched, onCost);
          }
        }
      }
      suspects = doubted;
      // Of a list that lost most of its entries, what it had stays expected.
      seen = isBelievable ? new Set(index.byId.keys()) : new Set([...before, ...index.byId.keys()]);
    },
  };

  async function confirm(organization: string, watched: WatchedCodespace, onCost: () => void): Promise<void> {
    try {
      onCost();
      const status = await recheckCodespace(read, organization, watched);
      if (status && (status.kind === 'absent' || status.kind === 'over'))
        closeSessionOf(sessions, watched, status, 'the organization’s Codespaces, and its developer’s');
    } catch (thrown) {
      onFailure(thrown);
    }
  }
}

/** @param witness what GitHub was asked for */
export function closeSessionOf(
  sessions: RecheckContext,
  { live, id, name, owner }: WatchedCodespace,
  status: Exclude<CodespaceStatus, { kind: 'available' }>,
  witness: string,
  more: Record<string, unknown> = {},
): void {
  const cause: CloseCause =
    status.kind === 'over' ? status.cause : status.kind === 'absent' ? 'workspace_deleted' : 'workspace_stopped';
  const state = status.kind === 'absent' ? 'not listed' : status.state;
  sessions.losses.lose({ kind: 'codespace', id, name, owner });
  // It is over in memory when this returns; store, edges and mesh follow, and are retried by themselves.
  void closeSession(sessions, live, { cause, detail: { state, witness, ...more } }).catch(sessions.onFailure);
}
