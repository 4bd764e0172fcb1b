/** Other sites in the browser of a signed-in person, and text that tries to be markup. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { csrfToken } from '../../src/admin/operator/page/cookies.ts';
import { SESSION } from '../harness/approval/page.ts';
import { type BrowserWorld, HAS_BROWSER, openBrowser, openSite, type Visit } from './chromium.ts';

describe.skipIf(!HAS_BROWSER)('in the browser of an approver', () => {
  let world: BrowserWorld;
  beforeAll(async () => {
    world = await openBrowser();
  });
  afterAll(() => world?.stop());

  const tokenOf = async ({ context }: Visit, path: string) => {
    const cookie = (await context.cookies()).find(({ name }) => name === SESSION);
    expect(cookie).toMatchObject({ httpOnly: true, secure: true, sameSite: 'Lax', path: '/' });
    return csrfToken(cookie!.value, path);
  };

  it.each([
    ['another site', 'localhost', 'operator_session_ended'],
    ['a neighbour of the same site', '127.0.0.1', 'operator_form_forged'],
  ] as const)('%s sends a form that has everything right: it is refused', async (_, host, code) => {
    const { id, who } = await world.ask('00u1alice');
    const visit = await world.visit();
    const path = `/approvals/${id}`;
    const page = await world.signInAs(visit, '00u2bob', path);
    const site = await openSite(host);
    // Even with a token that leaked.
    const token = await tokenOf(visit, path);
    const fields = Object.entries({ form: token, decision: 'approve', minutes: '5', reason: '' });
    site.show(`<form method="post" action="${world.origin}${path}">
${fields.map(([name, value]) => `<input name="${name}" value="${value}">`).join('')}</form>
<script>document.forms[0].submit()</script>`);
    await page.goto(site.origin);
    await page.waitForURL(world.origin + path);
    await page.getByText(code).waitFor();
    expect(await world.services(who)).toEqual(['dev']);
    // The person is signed in as before, and can answer.
    await page.goto(world.origin + path);
    await page.getByRole('button', { name: 'Approve' }).click();
    await page.getByText('approved by').waitFor();
    expect(await world.services(who)).toEqual(['dev', 'prod']);
    site.close();
    await visit.context.close();
  });

  it.each(['localhost', '127.0.0.1'] as const)(
    'no page of %s shows it in a frame, to have it clicked',
    async (host) => {
      const { id } = await world.ask('00u1alice');
      const visit = await world.visit();
      const page = await world.signInAs(visit, '00u2bob', `/approvals/${id}`);
      const site = await openSite(host);
      site.show(
        `<iframe src="${world.origin}/approvals/${id}"></iframe><iframe src="${world.origin}/page/sign-in"></iframe>`,
      );
      await page.goto(site.origin);
      const frames = page.frames().slice(1);
      expect(frames).toHaveLength(2);
      for (const frame of frames) {
        expect(frame.url()).toBe('chrome-error://chromewebdata/');
        expect(await frame.getByRole('button').count()).toBe(0);
      }
      site.close();
      await visit.context.close();
    },
  );

  it('no other site reads it, by a window that it opens or a request that it makes', async () => {
    const visit = await world.visit();
    const page = await world.signInAs(visit, '00u2bob', '/approvals');
    const site = await openSite('127.0.0.1');
    site.show('<h1>evil</h1>');
    await page.goto(site.origin);
    // The new window is cut off once its page has loaded.
    const read = await page.evaluate(`(async () => {
      const fetched = await fetch('${world.origin}/approvals', { credentials: 'include' }).then(
        (answer) => answer.text(),
        () => 'nothing',
      );
      const opened = open('${world.origin}/approvals');
      while (opened !== null && !opened.closed) await new Promise((resolve) => setTimeout(resolve, 50));
      let text = 'nothing';
      try {
        text = opened.document.body.innerText;
      } catch {}
      return [fetched, opened !== null, text];
    })()`);
    expect(read).toEqual(['nothing', true, 'nothing']);
    site.close();
    await visit.context.close();
  });

  it.each(['localhost', '127.0.0.1'] as const)(
    'no page of %s begins sign-ins by images and frames, and none keeps a person from theirs by windows',
    async (host) => {
      const visit = await world.visit();
      const { page, context } = visit;
      const path = `${world.origin}/page/sign-in/corp`;
      const begun = async () => (await context.cookies()).filter(({ name }) => name.includes('sign-in')).length;
      const site = await openSite(host);
      site.show(`<img src="${path}"><iframe src="${path}"></iframe>`.repeat(20));
      await page.goto(site.origin);
      expect(await begun()).toBe(0);
      site.show(`<a href="${path}" target="_blank">open</a>`);
      await page.goto(site.origin);
      for (let n = 0; n < 12; n++) {
        const [opened] = await Promise.all([context.waitForEvent('page'), page.getByText('open').click()]);
        await opened.waitForURL(`${world.corp}/**`);
        await opened.close();
      }
      expect(await begun()).toBe(8);
      await world.signInAs(visit, '00u2bob', '/approvals');
      expect(await begun()).toBe(7);
      site.close();
      await context.close();
    },
  );

  it('text of a requester stays text, and nothing that gets into the page runs or leaves it', async () => {
    const reason = '</dd><script>document.title=1</script><img src=//evil.example/x onerror=document.title=1>';
    const { id } = await world.ask('00u1alice', reason);
    const visit = await world.visit();
    const page = await world.signInAs(visit, '00u2bob', `/approvals/${id}`);
    expect(await page.getByText(reason).count()).toBe(1);
    expect(await page.locator('script,img,iframe,object,link').count()).toBe(0);
    expect([visit.loaded, visit.said]).toEqual([[], []]);
    // Simulates an injection of markup into it.
    const site = await openSite('127.0.0.1');
    const title = await page.title();
    const markup = [
      '<script>document.title=1</script>',
      `<script src="${world.origin}/x.js"></script>`,
      `<img src="${site.origin}/x" onerror="document.title=1">`,
      '<style>body{color:red}</style>',
      `<iframe src="${site.origin}/z"></iframe>`,
      `<base href="${site.origin}/">`,
      `<form method="post" action="${site.origin}/steal"><button name="steal">steal</button></form>`,
    ];
    await page.evaluate(`{
      globalThis.violated = [];
      document.addEventListener('securitypolicyviolation', (event) => violated.push(event.effectiveDirective));
      for (const one of ${JSON.stringify(markup)})
        document.body.append(document.createRange().createContextualFragment(one));
      document.querySelector('button[name=steal]').click();
    }`);
    const violated = async () => [...new Set(await page.evaluate<string[]>('violated'))].sort();
    await expect
      .poll(violated)
      .toEqual([
        'base-uri',
        'form-action',
        'frame-src',
        'img-src',
        'script-src-attr',
        'script-src-elem',
        'style-src-elem',
      ]);
    expect(site.asked).toEqual([]);
    site.close();
    expect([await page.locator('head title').textContent(), page.url()]).toEqual([
      title,
      `${world.origin}/approvals/${id}`,
    ]);
    await visit.context.close();
  });
});
