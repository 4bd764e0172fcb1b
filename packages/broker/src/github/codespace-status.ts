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

export type CodespaceStatus =
  | { readonly kind: 'available' }
  /** One statement is enough. */
  | { readonly kind: 'over'; readonly cause: CloseCause; readonly state: string }
  /** Neither running nor ended. */
  | { readonly kind: 'doubtful'; readonly state: string }
  | { readonly kind: 'absent' };

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
export function statusOf(
  codespace: { readonly id: number; readonly name: string },
  index: CodespaceIndex,
): CodespaceStatus {
  const listed = index.byId.get(codespace.id);
  if (!listed) {
    // A name belongs to one Codespace at a time.
    const successor = index.byName.get(codespace.name);
    return successor
      ? { kind: 'over', cause: 'workspace_deleted', state: `its name now belongs to ${successor.id}` }
      : { kind: 'absent' };
  }
  if (listed.state === 'Available') return { kind: 'available' };
  if (listed.state === 'Deleted') return { kind: 'over', cause: 'workspace_deleted', state: listed.state };
  if (STOPPED.has(listed.state)) return { kind: 'over', cause: 'workspace_stopped', state: listed.state };
  return { kind: 'doubtful', state: listed.state };
}
