/** Every page's links, anchors and the paths of this repository that it names lead somewhere. */
import { execFileSync } from 'node:child_process';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const PAGES = execFileSync('git', ['ls-files', '*.md'], { cwd: ROOT, encoding: 'utf8' }).trim().split('\n');

const textOf = (page: string) => readFileSync(join(ROOT, page), 'utf8');
const withoutCodeBlocks = (text: string) => text.replace(/^```.*?^```/gms, '');

/** The anchor that GitHub gives a heading. */
function anchorOf(heading: string): string {
  const text = heading.replace(/\[([^\]]*)\]\([^)]*\)/g, '$1').trim();
  return text
    .toLowerCase()
    .replace(/[^\p{L}\p{N}_\- ]/gu, '')
    .replaceAll(' ', '-');
}

function anchorsOf(page: string): ReadonlySet<string> {
  const text = withoutCodeBlocks(textOf(page));
  const headings = [...text.matchAll(/^#+ (.*)$/gm)].map(([, heading]) => anchorOf(heading!));
  const named = [...text.matchAll(/<a (?:id|name)="([^"]+)"/g)].map(([, name]) => name!);
  return new Set([...headings, ...named]);
}

test.each(PAGES)('%s links to what exists', (page) => {
  const links = [...withoutCodeBlocks(textOf(page)).matchAll(/\]\(([^)\s]+)\)/g)].map(([, link]) => link!);
  const broken = links.filter((link) => {
    if (/^[a-z]+:/.test(link)) return false;
    const [path, anchor] = link.split('#');
    const target = path === '' ? page : normalize(join(dirname(page), path!));
    if (!existsSync(join(ROOT, target))) return true;
    return anchor !== undefined && target.endsWith('.md') && !anchorsOf(target).has(anchor);
  });
  expect(broken).toEqual([]);
});

test.each(PAGES)('%s names paths that exist', (page) => {
  const code = /`((?:packages|lab|test|bench|deploy|docs|\.github|\.githooks|\.devcontainer)\/[\w./-]+)(?::\d+)?`/g;
  const paths = [...textOf(page).matchAll(code)].map(([, path]) => path!);
  // Built files exist only after `npm run build`; a page may name a file without its ending.
  const exists = (path: string) =>
    path.includes('/dist') || existsSync(join(ROOT, path)) || globSync(`${path}.*`, { cwd: ROOT }).length > 0;
  expect(paths.filter((path) => !exists(path))).toEqual([]);
});
