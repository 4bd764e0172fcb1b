/** URLs of the documentation site, which appear at the end of messages. */
import type { ErrorCode } from '../error.ts';

/** Base URL of all pages. The site is built for it (`deploy/site`). */
export const DOCUMENTATION_URL = 'https://meshpass.dev/docs/';

/**
 * Returns the address of a page.
 * @param file file of the page in the repository, with an anchor if one is meant
 * @example
 * ```ts
 * import { pageUrl } from '@meshpass/identity/documentation/url';
 * pageUrl('docs/lint.md#mp101'); // => 'https://meshpass.dev/docs/lint#mp101'
 * pageUrl('docs/install/README.md'); // => 'https://meshpass.dev/docs/install/'
 * ```
 */
export function pageUrl(file: string): string {
  const [path, anchor] = file.slice('docs/'.length).split('#');
  const page = path!.replace(/\.md$/, '').replace(/(^|\/)README$/, '$1');
  return `${DOCUMENTATION_URL}${page}${anchor === undefined ? '' : `#${anchor}`}`;
}

/** Returns the address of the row that explains an error code. */
export function errorCodeUrl(code: ErrorCode): string {
  return pageUrl(`docs/troubleshooting.md#${code}`);
}
