/** One Codespace, asked about by itself: what its developer's own list says now, from the first page to the last. */
import { pathPart } from '../attest/github/api.ts';
import { CodespacePage, indexCodespaces, type Word, wordOn } from './codespace-status.ts';
import { readListing } from './listing.ts';
import type { ReadGithub } from './reader.ts';
import type { Watched } from './watched-codespaces.ts';

/**
 * @param organization whose Codespace it is
 * @returns undefined where GitHub's answer says nothing about it: its developer is no member under this login (any more), or
 *   the list changed while it was read
 * @throws MeshpassError `issuer_unavailable`, `issuer_rate_limited`
 */
export async function askAgain(read: ReadGithub, organization: string, watched: Watched): Promise<Word | undefined> {
  const parts = [pathPart(organization), pathPart(watched.owner)];
  if (parts.includes(undefined)) return undefined;
  const path = `/orgs/${parts[0]}/members/${parts[1]}/codespaces`;
  const listing = await readListing({ read, organization, path, schema: CodespacePage });
  if (!listing) return undefined;
  const index = indexCodespaces(listing);
  const word = wordOn(watched, index);
  return word.says === 'absent' && !index.isWhole ? undefined : word;
}
