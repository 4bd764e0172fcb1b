/** The site has every page, and what its pages and our messages link to. */
import { execFileSync } from 'node:child_process';
import { existsSync, globSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ALL_RULES } from '@meshpass/analysis/lint';
import { DOCUMENTATION_URL, ERROR_CODES, errorCodeUrl, pageUrl } from '@meshpass/identity';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { LANDING, LISTS, markdownFiles, pagesOf, ROOT, readTabs } from '../../deploy/site/pages.ts';

const BASE = new URL(DOCUMENTATION_URL).pathname;

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'meshpass-site-'));
  execFileSync('npm', ['run', '-s', 'docs:build', '--', '--outDir', folder], { cwd: ROOT, stdio: 'pipe' });
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** File of the built site at a path, as a web server would find it. */
function builtFile(path: string): string {
  const page = path.slice(BASE.length);
  return join(
    folder,
    page === '' || page.endsWith('/') ? `${page}index.html` : /\.\w+$/.test(page) ? page : `${page}.html`,
  );
}

/** Whether an address leads to a page of the site and, if it names one, to an anchor there. */
function exists(url: URL): boolean {
  const file = builtFile(url.pathname);
  if (!url.pathname.startsWith(BASE) || !existsSync(file)) return false;
  const anchor = decodeURIComponent(url.hash.slice(1));
  return anchor === '' || readFileSync(file, 'utf8').includes(`id="${anchor}"`);
}

test('every page of docs is in one list', () => {
  const listed = pagesOf(readTabs()).map(({ file }) => file);
  expect(listed.filter((file, index) => listed.indexOf(file) !== index)).toEqual([]);
  const pages = markdownFiles().filter((file) => file.startsWith('docs/') && file !== LISTS);
  expect(pages.filter((file) => !listed.includes(file))).toEqual([]);
});

test('every link of the site leads to a page and an anchor', () => {
  const broken = globSync('**/*.html', { cwd: folder, exclude: ['404.html'] }).flatMap((page) => {
    const from = new URL(`https://site.test${BASE}${page}`);
    return [...readFileSync(join(folder, page), 'utf8').matchAll(/<a [^>]*href="([^"]+)"/g)]
      .map(([, href]) => new URL(href!.replaceAll('&amp;', '&'), from))
      .filter((url) => url.host === from.host && !exists(url))
      .map((url) => `${page}: ${url.pathname}${url.hash}`);
  });
  expect([...new Set(broken)]).toEqual([]);
});

test('addresses of pages, error codes and lint rules exist', () => {
  const pages = markdownFiles().filter((file) => file.startsWith('docs/') && file !== LISTS);
  const urls = [
    ...pages.map((file) => pageUrl(file)),
    ...ERROR_CODES.map(errorCodeUrl),
    ...ALL_RULES.map(({ code }) => pageUrl(`docs/lint.md#${code.toLowerCase()}`)),
  ];
  expect(urls.filter((url) => !exists(new URL(url)))).toEqual([]);
});

test('addresses in the sources exist', () => {
  const files = globSync('packages/*/src/**/*.ts', { cwd: ROOT });
  const named = files.flatMap((file) => {
    const text = readFileSync(join(ROOT, file), 'utf8');
    return [...text.matchAll(/^(?! *\*| *\/\*).*?pageUrl\('([^']+)'\)/gm)].map(([, page]) => page!);
  });
  expect(named.length).toBeGreaterThan(0);
  expect(named.filter((page) => !exists(new URL(pageUrl(page))))).toEqual([]);
});

test('the landing page shows the tabs, and the search finds a code and a rule by name', () => {
  const landing = readFileSync(join(folder, 'index.html'), 'utf8');
  expect(readFileSync(join(ROOT, LANDING), 'utf8')).toMatch(/^# Meshpass/);
  for (const { text } of readTabs()) expect(landing).toContain(`>${text}<`);
  const [index] = globSync('assets/chunks/@localSearchIndexroot.*.js', { cwd: folder });
  const text = readFileSync(join(folder, index!), 'utf8');
  for (const id of ['troubleshooting#access_none', 'lint#mp101']) expect(text).toContain(`${BASE}${id}`);
});
