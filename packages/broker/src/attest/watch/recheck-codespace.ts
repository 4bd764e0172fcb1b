/** Queries a single Codespace: its status in the complete list of its developer's Codespaces. */
import { pathPart } from '../github/api.ts';
import { CodespacePage, type CodespaceStatus, indexCodespaces, statusOf } from './codespace-status.ts';
import { readListing } from './listing.ts';
import type { ReadGithub } from './reader.ts';
import type { WatchedCodespace } from './watched-codespaces.ts';

/**
 * Rechecks a Codespace.
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
  const parts = [pathPart(organization), pathPart(watched.owner)];
  if (parts.includes(undefined)) return undefined;
  const path = `/orgs/${parts[0]}/members/${parts[1]}/codespaces`;
  const listing = await readListing({ read, organization, path, schema: CodespacePage });
  if (!listing) return undefined;
  const index = indexCodespaces(listing);
  const status = statusOf(watched, index);
  return status.kind === 'absent' && !index.isWhole ? undefined : status;
}
