/** Links of Markdown files, as the site and GitHub resolve them. */
import { existsSync, statSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { ROOT, sitePathOf } from './pages.ts';

/** Address of files that are no pages. */
const REPOSITORY = 'https://github.com/meshpass/meshpass';

/**
 * Returns the anchor that GitHub gives a heading.
 * @param heading text of the heading, with or without Markdown
 */
export function anchorOf(heading: string): string {
  const text = heading.replace(/\[([^\]]*)\]\([^)]*\)/g, '$1').trim();
  return text
    .toLowerCase()
    .replace(/[^\p{L}\p{N}_\- ]/gu, '')
    .replaceAll(' ', '-');
}

/**
 * Returns what a link of a page becomes on the site: the path of another page, or an address in the repository.
 * @param from path of the page in the repository
 * @throws if the link leads to no file
 */
export function siteLink(from: string, link: string, pages: ReadonlySet<string>): string {
  if (/^([a-z]+:|#)/.test(link)) return link;
  const [path, anchor] = link.split('#');
  const file = normalize(join(dirname(from), path!));
  const hash = anchor === undefined ? '' : `#${anchor}`;
  if (!existsSync(join(ROOT, file))) throw new Error(`${from}: ${link} leads to no file.`);
  if (pages.has(file)) return `/${sitePathOf(file)}${hash}`;
  return `${REPOSITORY}/${statSync(join(ROOT, file)).isDirectory() ? 'tree' : 'blob'}/main/${file}${hash}`;
}
