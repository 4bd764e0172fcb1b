/** Interprets a Codespace's status in GitHub's lists. These functions are pure and do not send any queries. */
import { z } from 'zod';
import type { CloseCause } from '../../store/index.ts';
import type { Listing } from './listing.ts';

const ListedCodespace = z.object({
  id: z.int().positive(),
  name: z.string().min(1).max(100),
  state: z.string().max(50),
});

export type ListedCodespace = z.infer<typeof ListedCodespace>;

/** A response page of `GET /orgs/{org}/codespaces` or `GET /orgs/{org}/members/{username}/codespaces`. */
export const CodespacePage = z
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

export type CodespaceStatus =
  | { readonly kind: 'available' }
  /** The Codespace has ended. A single answer is sufficient proof of that. */
  | { readonly kind: 'over'; readonly cause: CloseCause; readonly state: string }
  /** The Codespace is neither clearly running nor clearly ended. */
  | { readonly kind: 'doubtful'; readonly state: string }
  | { readonly kind: 'absent' };

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
      : { kind: 'absent' };
  }
  if (listed.state === 'Available') return { kind: 'available' };
  if (listed.state === 'Deleted') return { kind: 'over', cause: 'workspace_deleted', state: listed.state };
  if (STOPPED.has(listed.state)) return { kind: 'over', cause: 'workspace_stopped', state: listed.state };
  return { kind: 'doubtful', state: listed.state };
}
