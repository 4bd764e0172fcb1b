/**
 * Reads an entire list from GitHub, with a hundred entries per page. Requests are conditional, because unchanged pages
 * do not count against the rate limit
 * (https://docs.github.com/rest/using-the-rest-api/best-practices-for-using-the-rest-api).
 * If a page cannot be read, the whole read fails, because a partial list proves nothing.
 */

import type { z } from 'zod';
import { MAX_PAGE_BYTES, parseGithubResponse, type ReadGithub } from '../../attest/index.ts';

export interface Listing<T> {
  readonly items: readonly T[];
  /**
   * Whether the pages are consistent with each other. The list may change between requests. For example, when an entry
   * is deleted, another one may move to the previous page and be missing from both responses.
   */
  readonly consistent: boolean;
}

/** The contents of a single page. */
export interface PageContent<T> {
  readonly items: readonly T[];
  /** The length of the entire list, if GitHub reports it. */
  readonly total?: number;
}

interface Page<T> extends PageContent<T> {
  readonly etag: string | undefined;
}

/** The pages from the previous read, keyed by page number. They are reused when GitHub responds with 304. */
export type CachedPages<T> = Map<number, Page<T>>;

const PER_PAGE = 100;
/** The maximum number of pages to read. More than 100,000 entries could not be read within an hour. */
const MAX_PAGES = 1000;

export interface ListingRequest<T> {
  readonly read: ReadGithub;
  readonly organization: string;
  /** The path, without a query string. */
  readonly path: string;
  readonly schema: z.ZodType<PageContent<T>>;
  /** The cache of pages. If absent, every page is requested unconditionally. */
  readonly cachedPages?: CachedPages<T>;
}

/**
 * Reads all pages of a list.
 * @returns undefined if the list does not exist (404)
 * @throws MeshpassError `issuer_unavailable`, `issuer_rate_limited`
 */
export async function readListing<T>(request: ListingRequest<T>): Promise<Listing<T> | undefined> {
  const { cachedPages = new Map() } = request;
  const items: T[] = [];
  const totals = new Set<number | undefined>();
  for (let number = 1; number <= MAX_PAGES; number++) {
    const page = await readPage(request, number, cachedPages.get(number));
    if (!page) {
      if (number === 1) return undefined;
      break;
    }
    cachedPages.set(number, page);
    items.push(...page.items);
    totals.add(page.total);
    const isLast = page.items.length < PER_PAGE || (page.total !== undefined && items.length >= page.total);
    if (isLast) {
      for (const old of cachedPages.keys()) if (old > number) cachedPages.delete(old);
      const [total] = totals;
      return { items, consistent: totals.size === 1 && (total === undefined || total === items.length) };
    }
  }
  // Either a page disappeared while the list was being read, or the list is too long.
  return { items, consistent: false };
}

async function readPage<T>(
  { read, organization, path, schema }: ListingRequest<T>,
  number: number,
  known: Page<T> | undefined,
): Promise<Page<T> | undefined> {
  const headers: Record<string, string> = known?.etag === undefined ? {} : { 'if-none-match': known.etag };
  const answer = await read(organization, `${path}?per_page=${PER_PAGE}&page=${number}`, {
    headers,
    maxBytes: MAX_PAGE_BYTES,
  });
  if (known && answer?.status === 304) return known;
  return answer && { ...parseGithubResponse(schema, answer), etag: answer.headers.get('etag') ?? undefined };
}
