/** `npm run docs` serves the documentation, `npm run docs:build` builds it to `deploy/site/dist`. */
import { relative } from 'node:path';
import { DOCUMENTATION_URL } from '@meshpass/identity';
import { defineConfig, type MarkdownRenderer } from 'vitepress';
import { anchorOf, siteLink } from '../links.ts';
import { toNavigation } from '../navigation.ts';
import { LANDING, LISTS, markdownFiles, pagesOf, ROOT, readTabs, sitePathOf } from '../pages.ts';
import { splitIntoSections } from '../search.ts';

const tabs = readTabs();
const pages = new Set([LANDING, LISTS, ...pagesOf(tabs).map(({ file }) => file)]);

export default defineConfig({
  srcDir: '../..',
  outDir: 'dist',
  cacheDir: '../../node_modules/.cache/vitepress',
  base: new URL(DOCUMENTATION_URL).pathname,
  cleanUrls: true,
  srcExclude: markdownFiles().filter((file) => !pages.has(file)),
  rewrites: Object.fromEntries([...pages].map((file) => [file, sitePathOf(file)])),
  title: 'Meshpass',
  description: 'GitHub Codespaces as workloads of an Istio mesh',
  // The search index, which is loaded when the search is opened.
  vite: { build: { chunkSizeWarningLimit: 4_000 } },
  markdown: { anchor: { slugify: anchorOf }, config: configure },
  themeConfig: {
    ...toNavigation(tabs),
    outline: [2, 3],
    externalLinkIcon: true,
    search: { provider: 'local', options: { miniSearch: { _splitIntoSections: splitIntoSections } } },
  },
});

/** Resolves links of the repository, and keeps Vue from reading `{{` in prose and code as its own. */
function configure(md: MarkdownRenderer): void {
  md.core.ruler.push('repository_links', ({ tokens, env }) => {
    const from = relative(ROOT, env.realPath ?? env.path);
    for (const token of tokens.flatMap(({ children }) => children ?? []))
      if (token.type === 'link_open') token.attrSet('href', siteLink(from, token.attrGet('href') ?? '', pages));
  });
  const render = md.render.bind(md);
  md.render = (source, env) => render(source, env).replaceAll('{{', '&#123;&#123;');
}
