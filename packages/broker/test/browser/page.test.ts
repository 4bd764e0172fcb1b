/** The page as people use it, in a real browser: with the mouse, by keyboard alone, on a small screen, in the dark. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type BrowserWorld, HAS_BROWSER, openBrowser } from './chromium.ts';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** Findings of axe against WCAG 2.2 AA and its own good practice: contrast, labels, landmarks, headings. */
async function findings(page: Page): Promise<string[]> {
  // By the driver: the page itself would not load it.
  await page.evaluate(AXE);
  const found = await page.evaluate<{ violations: { id: string; nodes: { html: string }[] }[] }>('axe.run()');
  return found.violations.flatMap(({ id, nodes }) => nodes.map(({ html }) => `${id}: ${html}`));
}

describe.skipIf(!HAS_BROWSER)('the page in a browser', () => {
  let world: BrowserWorld;
  beforeAll(async () => {
    world = await openBrowser();
  });
  afterAll(() => world?.stop());

  it('lets an approver sign in, read, and approve with a reason; nothing is loaded beside it', async () => {
    const { id, who } = await world.ask('00u1alice', 'INC-4711');
    const visit = await world.visit();
    const page = await world.signInAs(visit, '00u2bob', '/approvals');
    await page.locator(`a[href="/approvals/${id}"]`).click();
    expect(await page.getByRole('heading', { level: 1 }).textContent()).toContain('prod');
    const form = page.locator('form', { has: page.getByRole('button', { name: 'Approve' }) });
    await form.getByLabel('minutes').fill('5');
    await form.getByLabel('Reason').fill('go ahead');
    await form.getByRole('button', { name: 'Approve' }).click();
    await page.getByText('go ahead').waitFor();
    expect(await world.services(who)).toEqual(['dev', 'prod']);
    const row = (await world.auditRows()).findLast(({ action }) => action === 'approval.answer');
    expect(row).toMatchObject({ outcome: 'allowed', subject: 'corp:00u2bob', reason: 'go ahead', target: id });
    expect([visit.loaded, visit.said]).toEqual([[], []]);
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.getByRole('link', { name: 'Sign in with corp' }).waitFor();
    await page.goBack();
    await page.waitForLoadState();
    expect(await page.getByText('go ahead').count()).toBe(0);
    await visit.context.close();
  });

  it('lets an approver deny, and asks for the reason that a denial needs', async () => {
    const { id, who } = await world.ask('00u1alice');
    const visit = await world.visit();
    const page = await world.signInAs(visit, '00u2bob', `/approvals/${id}`);
    const form = page.locator('form', { has: page.getByRole('button', { name: 'Deny' }) });
    await form.getByRole('button', { name: 'Deny' }).click();
    const reason = form.getByLabel('Reason');
    expect(await reason.evaluate((field: { validity: { valueMissing: boolean } }) => field.validity.valueMissing)).toBe(
      true,
    );
    expect(page.url()).toBe(`${world.origin}/approvals/${id}`);
    await reason.fill('not now');
    await form.getByRole('button', { name: 'Deny' }).click();
    await page.getByText('not now').waitFor();
    expect(await world.services(who)).toEqual(['dev']);
    await visit.context.close();
  });

  it('lets a person sign in in two tabs at once, and keeps no cookie of it', async () => {
    const { context, page } = await world.visit();
    const tabs = [page, await context.newPage()];
    for (const tab of tabs) {
      await tab.goto(`${world.origin}/approvals`);
      await tab.getByRole('link', { name: 'Sign in with corp' }).click();
      await tab.locator('input[name=login]').waitFor();
    }
    for (const tab of tabs) {
      await tab.locator('input[name=login]').fill('00u2bob');
      await tab.locator('input[name=password]').fill('any');
      await tab.locator('button[type=submit]').click();
      await tab.getByRole('button', { name: 'Continue' }).click();
      await tab.waitForURL(`${world.origin}/approvals`);
      await tab.getByText('00u2bob').first().waitFor();
    }
    expect((await context.cookies(world.origin)).filter(({ name }) => name.includes('sign-in'))).toEqual([]);
    await context.close();
  });

  it('works by keyboard alone', async () => {
    const { id, who } = await world.ask('00u1alice');
    const visit = await world.visit();
    const page = await world.signInAs(visit, '00u2bob', '/approvals');
    const focused = () =>
      page.evaluate<string>(
        "['href', 'name'].map((name) => document.activeElement.getAttribute(name)).find((value) => value !== null) ?? ''",
      );
    const tabTo = async (what: RegExp) => {
      for (let n = 0; n < 40; n++) {
        await page.keyboard.press('Tab');
        if (what.test(await focused())) return;
      }
      throw new Error(`no way by keyboard to ${what}`);
    };
    await tabTo(new RegExp(id));
    await page.keyboard.press('Enter');
    await page.waitForURL(`${world.origin}/approvals/${id}`);
    await tabTo(/^minutes/);
    await page.keyboard.press('ControlOrMeta+a');
    await page.keyboard.type('7');
    await tabTo(/^reason/);
    await page.keyboard.type('by keyboard');
    await page.keyboard.press('Enter');
    await page.getByText('by keyboard').waitFor();
    expect(await world.services(who)).toEqual(['dev', 'prod']);
    const row = (await world.auditRows()).findLast(({ action }) => action === 'approval.answer');
    expect(JSON.parse(row!.detail!)).toMatchObject({
      because: 'by keyboard',
      until: expect.closeTo(world.harness.now() + 420, -2),
    });
    await visit.context.close();
  });

  it.each(['light', 'dark'] as const)('is readable and labelled, also on a small screen (%s)', async (colorScheme) => {
    const { id } = await world.ask('00u1alice', 'A'.repeat(200));
    const visit = await world.visit({ colorScheme, viewport: { width: 320, height: 640 } });
    await visit.page.goto(`${world.origin}/page/sign-in`);
    expect(await findings(visit.page)).toEqual([]);
    const page = await world.signInAs(visit, '00u2bob', '/approvals');
    for (const path of ['/approvals', `/approvals/${id}`, '/approvals/none']) {
      await page.goto(world.origin + path);
      expect(await findings(page), path).toEqual([]);
      const width = await page.evaluate<number>('document.documentElement.scrollWidth');
      expect(width, path).toBeLessThanOrEqual(320);
      await page.setViewportSize({ width: 1000, height: 800 });
      expect(await findings(page), path).toEqual([]);
      await page.screenshot({
        path: `/tmp/ways-shots/${colorScheme}-${path.replaceAll('/', '_').slice(0, 16)}.png`,
        fullPage: true,
      });
      await page.setViewportSize({ width: 320, height: 640 });
      await page.screenshot({
        path: `/tmp/ways-shots/${colorScheme}-small-${path.replaceAll('/', '_').slice(0, 16)}.png`,
        fullPage: true,
      });
    }
    const background = await page.evaluate<string>('getComputedStyle(document.documentElement).backgroundColor');
    expect(background).toBe(colorScheme === 'light' ? 'rgb(255, 255, 255)' : 'rgb(18, 18, 18)');
    await visit.context.close();
  });
});
