/**
 * A whole list of GitHub's, a hundred entries a page, each page asked for conditionally: one that has not changed costs
 * nothing of the budget (https://docs.github.com/rest/using-the-rest-api/best-practices-for-using-the-rest-api).
 * It is all of the pages or none: an error anywhere is thrown, and nothing is concluded from a part.
 */
import type { z } from 'zod';
import { MAX_PAGE_BYTES, parseGithub } from '../attest/github/api.ts';
import type { ReadGithub } from './reader.ts';

export interface Listing<T> {
  readonly items: readonly T[];
  /**
   * Whether the pages fit together. Pages are cut from a list that moves: where something was deleted meanwhile, an entry
   * may have slipped from one page to the one before and be on neither.
   */
  readonly consistent: boolean;
  /** Calls that counted against the budget. */
  readonly cost: number;
}

/** What one page says. */
export interface PageContent<T> {
  readonly items: readonly T[];
  /** Length of the whole list, where GitHub says it. */
  readonly total?: number;
}

interface Page<T> extends PageContent<T> {
  readonly etag: string | undefined;
}

/** Pages of the last reading, by number: what a 304 stands for. */
export type CachedPages<T> = Map<number, Page<T>>;

const PER_PAGE = 100;
/** 100,000 entries: more would not be read in an hour. */
const MAX_PAGES = 1000;

export interface ListingRequest<T> {
  readonly read: ReadGithub;
  readonly organization: string;
  /** Without a query. */
  readonly path: string;
  readonly schema: z.ZodType<PageContent<T>>;
  /** Absent: nothing is remembered, and every page is asked for as it is now. */
  readonly cachedPages?: CachedPages<T>;
  /** Told of each call that counts: also those before a failure cost something. */
  readonly onCost?: () => void;
}

/**
 * @returns undefined where there is no such list (404)
 * @throws MeshpassError `issuer_unavailable`, `issuer_rate_limited`
 */
export async function readListing<T>(request: ListingRequest<T>): Promise<Listing<T> | undefined> {
  const { cachedPages } = request;
  const items: T[] = [];
  const totals = new Set<number | undefined>();
  let cost = 0;
  for (let number = 1; number <= MAX_PAGES; number++) {
    const { page, free } = await readPage(request, number);
    if (!free) cost++;
    if (!page) {
      if (number === 1) return undefined;
      break;
    }
    cachedPages?.set(number, page);
    items.push(...page.items);
    totals.add(page.total);
    const isLast = page.items.length < PER_PAGE || (page.total !== undefined && items.length >= page.total);
    if (isLast) {
      for (const old of [...(cachedPages?.keys() ?? [])]) if (old > number) cachedPages?.delete(old);
      const [total] = totals;
      return { items, cost, consistent: totals.size === 1 && (total === undefined || total === items.length) };
    }
  }
  // A page that is gone in the middle, or a list without an end.
  return { items, cost, consistent: false };
}

async function readPage<T>(
  { read, organization, path, schema, cachedPages, onCost }: ListingRequest<T>,
  number: number,
): Promise<{ page: Page<T> | undefined; free: boolean }> {
  const known = cachedPages?.get(number);
  const headers: Record<string, string> = known?.etag === undefined ? {} : { 'if-none-match': known.etag };
  const answer = await read(organization, `${path}?per_page=${PER_PAGE}&page=${number}`, {
    headers,
    maxBytes: MAX_PAGE_BYTES,
  });
  if (known && answer?.status === 304) return { page: known, free: true };
  onCost?.();
  if (!answer) return { page: undefined, free: false };
  return { page: { ...parseGithub(schema, answer), etag: answer.headers.get('etag') ?? undefined }, free: false };
}
