/** Builds the URLs of documentation pages that are appended to messages. */
import type { ErrorCode } from '../error.ts';

/** The base URL of all pages. `deploy/site` builds the site for this URL. */
export const DOCUMENTATION_URL = 'https://meshpass.dev/docs/';

/**
 * Returns the URL of a documentation page.
 * @param file the path of the page's source file in the repository, optionally followed by an anchor
 * @example
 * ```ts
 * import { pageUrl } from '@meshpass/identity';
 * pageUrl('docs/lint.md#mp101'); // => 'https://meshpass.dev/docs/lint#mp101'
 * pageUrl('docs/install/README.md'); // => 'https://meshpass.dev/docs/install/'
 * ```
 */
export function pageUrl(file: string): string {
  const [path, anchor] = file.slice('docs/'.length).split('#');
  const page = path!.replace(/\.md$/, '').replace(/(^|\/)README$/, '$1');
  return `${DOCUMENTATION_URL}${page}${anchor === undefined ? '' : `#${anchor}`}`;
}

/** Returns the URL of the table row that explains an error code. */
export function errorCodeUrl(code: ErrorCode): string {
  return pageUrl(`docs/troubleshooting.md#${code}`);
}
