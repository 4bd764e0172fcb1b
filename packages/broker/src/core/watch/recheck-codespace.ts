/** Checks whether GitHub still reports that a session's Codespace is running, and ends the session if it does not. */

import { encodePathSegment, type ReadGithub } from '../../attest/index.ts';
import type { CloseCause } from '../../store/index.ts';
import type { SessionContext } from '../session/context.ts';
import { closeSession } from '../session/lifecycle.ts';
import { CodespacePage, type CodespaceStatus, indexCodespaces, statusOf } from './codespace-status.ts';
import { readListing } from './listing.ts';
import type { WatchedCodespace } from './watched-codespaces.ts';

export interface RecheckCodespaceOptions {
  readonly read: ReadGithub;
  readonly sessions: SessionContext;
  /** The organization that the Codespace belongs to. */
  readonly organization: string;
}

/**
 * Rechecks a single Codespace by looking it up in the complete list of its developer's Codespaces. GitHub's answer is
 * inconclusive if the developer is not (or no longer) a member under this login, or if the list changed while it was
 * being read.
 * @param witness describes, for the audit log, which queries show that the Codespace has ended
 * @returns whether the session has ended
 * @throws MeshpassError `issuer_unavailable`, `issuer_rate_limited`
 */
export async function recheckCodespace(
  { read, sessions, organization }: RecheckCodespaceOptions,
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
 * Closes the session of a Codespace that has ended.
 * @param witness describes, for the audit log, which query showed that the Codespace has ended
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
  // By the time this function returns, the session has ended in memory. The store, the edges and the mesh are updated
  // later, with retries.
  void closeSession(sessions, live, { cause, detail: { state, witness, ...more } }).catch(sessions.onFailure);
}
