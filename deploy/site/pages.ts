/**
 * Pages of the site and their order. `docs/README.md` lists them: each `##` section with a table of topics is a tab, each row a
 * group of its sidebar. A page that is the README of its folder lists the other pages of the folder, unless `docs/README.md` does.
 */
import { globSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** Page that is the site's landing page, and page with the lists. */
export const LANDING = 'README.md';
export const LISTS = 'docs/README.md';

export interface Page {
  /** Path in the repository. */
  readonly file: string;
  readonly text: string;
  /** Pages that this one lists. */
  readonly pages: readonly Page[];
}

export interface Group {
  readonly text: string;
  readonly pages: readonly Page[];
}

export interface Tab {
  readonly text: string;
  readonly groups: readonly Group[];
}

/** Reads the tabs from the lists. */
export function readTabs(): readonly Tab[] {
  const sections = readText(LISTS)
    .split(/^## /m)
    .filter((section) => section.includes('\n| Topic | Pages |\n'));
  const listed = new Set(sections.flatMap((section) => linksOf(LISTS, section).map(({ file }) => file)));
  return sections.map((section) => ({
    text: section.slice(0, section.indexOf('\n')),
    groups: [...section.matchAll(/^\| ([^|]*) \| (\[.*) \|$/gm)].map(([, text, cell]) => ({
      text: text!,
      pages: linksOf(LISTS, cell!).map((page) => ({ ...page, pages: pagesListedBy(page.file, listed) })),
    })),
  }));
}

/** Lists all pages of tabs in reading order. */
export function pagesOf(tabs: readonly Tab[]): readonly Page[] {
  return tabs.flatMap(({ groups }) => groups.flatMap(({ pages }) => pages.flatMap((page) => [page, ...page.pages])));
}

/** Lists Markdown files of the repository, without those of dependencies and builds. */
export function markdownFiles(): readonly string[] {
  return globSync('**/*.md', { cwd: ROOT, exclude: (name) => /(^|\/)(node_modules|dist|\.[^/]+)$/.test(name) }).sort();
}

/**
 * Returns the path of a page on the site, which decides its address.
 * @example `docs/install/README.md` is `install/index.md`
 */
export function sitePathOf(file: string): string {
  if (file === LISTS) return 'documentation.md';
  return file.replace(/^docs\//, '').replace(/(^|\/)README\.md$/, '$1index.md');
}

function pagesListedBy(file: string, elsewhere: ReadonlySet<string>): readonly Page[] {
  if (!file.endsWith('/README.md')) return [];
  const seen = new Set<string>();
  return linksOf(file, readText(file))
    .filter((page) => {
      const isNew = page.file.startsWith(`${dirname(file)}/`) && !elsewhere.has(page.file) && !seen.has(page.file);
      seen.add(page.file);
      return isNew;
    })
    .map((page) => ({ ...page, pages: [] }));
}

/** Lists links of a text to pages, without anchors. */
function linksOf(from: string, text: string): readonly Omit<Page, 'pages'>[] {
  return [...text.matchAll(/\[([^\]]+)\]\(([^):\s#]+\.md)\)/g)].map(([, label, path]) => ({
    file: join(dirname(from), path!),
    text: label!.replaceAll('`', ''),
  }));
}

function readText(file: string): string {
  return readFileSync(join(ROOT, file), 'utf8');
}
