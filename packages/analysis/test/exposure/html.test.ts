import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { type Browser, chromium } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { html } from '../../src/exposure/report/html.ts';
import { printExposureHtml } from '../../src/exposure.ts';
import { HOSTILE, HOSTILE_MESH, reportFor, SHOP } from './shop.ts';

const PROGRAM = '/usr/bin/chromium-headless-shell';
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

test('markup escapes text, and nests', () => {
  const items = ['<a>', `"'&`].map((text) => html`<li title="${text}">${text}</li>`);
  expect(html`<ul>${items}</ul>${1}`.markup).toBe(
    '<ul><li title="&lt;a&gt;">&lt;a&gt;</li><li title="&quot;&#39;&amp;">&quot;&#39;&amp;</li></ul>1',
  );
});

describe('the page', () => {
  test('has only its own elements, whatever the names are', () => {
    const tags = (text: string) => new Set(text.match(/<[^>]*>?/g)!.filter((tag) => !/title>|meta/.test(tag)));
    const own = tags(printExposureHtml(reportFor(SHOP)));
    const page = printExposureHtml(reportFor(HOSTILE_MESH, { notes: [HOSTILE] }));
    expect([...tags(page)].filter((tag) => !own.has(tag)).sort()).toEqual(['</li>', '</ul>', '<li>', '<ul>']);
    expect(page).toContain('&lt;script&gt;alert(1)&lt;/script&gt;');
  });

  test('forbids everything but its own style', () => {
    const page = printExposureHtml(reportFor(SHOP));
    expect(page).toMatch(
      /http-equiv="Content-Security-Policy" content="default-src &#39;none&#39;; style-src &#39;sha256-/,
    );
    expect(page).not.toMatch(/<script|src=|href=|https?:\/\/(?!shop\.|web\.|HOST)/);
  });
});

describe.skipIf(!existsSync(PROGRAM))('the page in a browser', () => {
  let browser: Browser;
  beforeAll(async () => {
    // The tests run as root, which Chromium's own sandbox refuses.
    browser = await chromium.launch({ executablePath: PROGRAM, args: ['--no-sandbox'] });
  });
  afterAll(() => browser?.close());

  test.each(['light', 'dark'] as const)('is accessible in %s colours, and loads nothing', async (colorScheme) => {
    const context = await browser.newContext({ colorScheme });
    const page = await context.newPage();
    const [loaded, said]: [string[], string[]] = [[], []];
    page.on('request', (request) => loaded.push(request.url()));
    page.on('console', (message) => said.push(message.text()));
    page.on('dialog', () => said.push('dialog'));
    await page.setContent(printExposureHtml(reportFor(`${SHOP}---\n${HOSTILE_MESH}`, { isAll: true })));
    expect(await page.locator('caption').allTextContents()).toEqual([
      'External access, open ways first',
      'Internal access, open ways first',
    ]);
    expect(await page.locator('tbody tr').count()).toBe(5);
    expect(await page.getByText('<script>alert(1)</script>').count()).toBeGreaterThan(0);
    expect(await page.locator('script, img, a').count()).toBe(0);
    // The style is in force, so the policy has its hash.
    const collapse = "getComputedStyle(document.querySelector('table')).borderCollapse";
    expect(await page.evaluate(collapse)).toBe('collapse');
    expect([loaded, said]).toEqual([[], []]);
    await page.evaluate(AXE);
    const { violations } = await page.evaluate<{ violations: { id: string }[] }>('axe.run()');
    expect(violations.map(({ id }) => id)).toEqual([]);
    await context.close();
  });
});
