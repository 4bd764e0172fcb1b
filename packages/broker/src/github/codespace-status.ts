/** GitHub's word of one Codespace, and what follows from it. Pure: what is asked, and when, stands beside. */
import { z } from 'zod';
import type { CloseCause } from '../store/close-causes.ts';
import type { Listing, PageContent } from './listing.ts';

export interface ListedCodespace {
  readonly id: number;
  readonly name: string;
  readonly state: string;
}

const ListedCodespace = z.object({
  id: z.int().positive(),
  name: z.string().min(1).max(100),
  state: z.string().max(50),
});

/** A page of `GET /orgs/{org}/codespaces` and of `GET /orgs/{org}/members/{username}/codespaces`. */
export const CodespacePage: z.ZodType<PageContent<ListedCodespace>> = z
  .object({ total_count: z.int().nonnegative(), codespaces: z.array(ListedCodespace).max(100) })
  .transform(({ total_count, codespaces }) => ({ total: total_count, items: codespaces }));

export interface CodespaceIndex {
  readonly byId: ReadonlyMap<number, ListedCodespace>;
  readonly byName: ReadonlyMap<string, ListedCodespace>;
  /** Whether what is not in it is not there. */
  readonly isWhole: boolean;
}

export function indexCodespaces({ items, consistent }: Listing<ListedCodespace>): CodespaceIndex {
  const byId = new Map(items.map((one) => [one.id, one]));
  const byName = new Map(items.map((one) => [one.name, one]));
  // An entry that moved between pages is there twice, and another may be missing for it.
  return { byId, byName, isWhole: consistent && byId.size === items.length };
}

export type Word =
  | { readonly says: 'available' }
  /** One statement is enough. */
  | { readonly says: 'over'; readonly cause: CloseCause; readonly state: string }
  /** Neither running nor ended. */
  | { readonly says: 'doubtful'; readonly state: string }
  | { readonly says: 'absent' };

/**
 * The states in which the container that holds the session's keys does not run: it was stopped, or is being made anew.
 * Anything else that is not `Available` (`Unknown`, `Unavailable`, `Awaiting`, `Updating`, `Exporting`, and what GitHub may
 * invent) can pass by itself while the container runs on.
 */
const STOPPED: ReadonlySet<string> = new Set([
  ...['Shutdown', 'ShuttingDown', 'Archived', 'Failed', 'Moved'],
  ...['Created', 'Queued', 'Provisioning', 'Starting', 'Rebuilding'],
]);

/** What a list says of the Codespace with this id, which had this name. */
export function wordOn(codespace: { readonly id: number; readonly name: string }, index: CodespaceIndex): Word {
  const listed = index.byId.get(codespace.id);
  if (!listed) {
    // A name belongs to one Codespace at a time.
    const successor = index.byName.get(codespace.name);
    return successor
      ? { says: 'over', cause: 'workspace_deleted', state: `its name is that of ${successor.id} now` }
      : { says: 'absent' };
  }
  if (listed.state === 'Available') return { says: 'available' };
  if (listed.state === 'Deleted') return { says: 'over', cause: 'workspace_deleted', state: listed.state };
  if (STOPPED.has(listed.state)) return { says: 'over', cause: 'workspace_stopped', state: listed.state };
  return { says: 'doubtful', state: listed.state };
}
