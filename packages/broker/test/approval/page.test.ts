/** Answers on the broker's page: its content, accepted forms, and refusals. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { csrfToken } from '../../src/admin/operator/page/cookies.ts';
import { Browser, formsOf } from '../harness/approval/browser.ts';
import { codeOf, type PageWorld, SESSION, startPage } from '../harness/approval/page.ts';

describe('the page', () => {
  let world: PageWorld;
  beforeAll(async () => {
    world = await startPage();
  });
  beforeEach(() => world.harness.mesh.setOperators(world.operators));
  afterAll(() => world?.stop());

  it('lets an approver sign in, shows the request, and accepts the answer', async () => {
    const { id, who } = await world.ask('00u1alice', 'INC-4711 <script>alert(1)</script>');
    const browser = new Browser();
    const shown = await world.signIn(browser, '00u2bob', `/approvals/${id}`);
    expect(shown.url.href).toBe(`${world.origin}/approvals/${id}`);
    expect(shown.status).toBe(200);
    for (const part of ['prod', 'corp:00u1alice', ':8080', '30m', 'INC-4711 &lt;script&gt;', 'bob (corp:00u2bob)'])
      expect(shown.text).toContain(part);
    expect(shown.text).not.toContain('<script');
    const done = await browser.submit(shown, { decision: 'approve', minutes: '5', reason: 'go on' }, { form: 1 });
    expect(done.url.pathname).toBe(`/approvals/${id}`);
    expect(done.text).toMatch(/approved by .*bob.* through page/);
    expect(await world.services(who)).toEqual(['dev', 'prod']);
    const rows = await world.auditRows();
    expect(rows.findLast((row) => row.action === 'operator.sign-in')).toMatchObject({ subject: 'corp:00u2bob' });
    const row = rows.findLast(({ action }) => action === 'approval.answer');
    expect(row).toMatchObject({ outcome: 'allowed', subject: 'corp:00u2bob', grant_name: 'prod', target: id });
    expect(JSON.parse(row!.detail!)).toMatchObject({ via: 'page', does: 'approvals.approve', state: 'approved' });
    expect((await browser.open(`${world.origin}/approvals`)).text).toContain(id);
  });

  it('denies with a reason, and not without', async () => {
    const { id, who } = await world.ask('00u1alice');
    const browser = new Browser();
    const shown = await world.signIn(browser, '00u2bob', `/approvals/${id}`);
    const refused = await browser.submit(shown, { decision: 'deny' }, { form: 2 });
    expect([refused.status, codeOf(refused)]).toEqual([400, 'request_malformed']);
    const done = await browser.submit(shown, { decision: 'deny', reason: 'not now' }, { form: 2 });
    expect(done.text).toMatch(/denied by .*not now/s);
    expect(await world.services(who)).toEqual(['dev']);
    expect(codeOf(await browser.submit(shown, { decision: 'approve' }, { form: 1 }))).toBe('approval_unknown');
  });

  it('holds people to "by", to their role, and to not answering their own requests', async () => {
    const own = await world.ask('00u2bob');
    const bob = new Browser();
    const shown = await world.signIn(bob, '00u2bob', `/approvals/${own.id}`);
    const refused = await bob.submit(shown, { decision: 'approve' }, { form: 1 });
    expect([refused.status, codeOf(refused)]).toEqual([403, 'approval_own']);
    const alice = new Browser();
    const seen = await world.signIn(alice, '00u1alice', `/approvals/${own.id}`);
    expect(formsOf(seen)).toHaveLength(1);
    expect(seen.text).toContain('Your role cannot answer requests.');
    // A form that she makes herself, with a token that is right for her session.
    const path = `/approvals/${own.id}`;
    const answered = await alice.submit(
      { ...seen, text: seen.text.replace('/page/sign-out', path) },
      { decision: 'approve', minutes: '5', reason: '', form: tokenFor(alice, path) },
    );
    expect(codeOf(answered)).toBe('operator_forbidden');
    const mallory = await world.signIn(new Browser(), '00u9mallory', '/approvals');
    expect([mallory.status, codeOf(mallory)]).toEqual([403, 'operator_no_role']);
  });

  it('shows an emergency, and accepts the review of another person', async () => {
    const own = await world.ask('00u2bob', 'INC-1', '/approvals/emergency');
    const { id, who } = await world.ask('00u1alice', 'INC-2 <b>', '/approvals/emergency');
    expect(await world.services(who)).toEqual(['dev', 'prod']);
    const browser = new Browser();
    const shown = await world.signIn(browser, '00u2bob', `/approvals/${id}`);
    expect(shown.text).toContain('Taken in an emergency');
    expect((await browser.open(`${world.origin}/approvals`)).text).toMatch(
      /Emergency access to review.*INC-2 &lt;b&gt;/s,
    );
    const blank = await browser.submit(shown, { decision: 'object' }, { form: 1 });
    expect([blank.status, codeOf(blank)]).toEqual([400, 'request_malformed']);
    const mine = await browser.open(`${world.origin}/approvals/${own.id}`);
    expect(codeOf(await browser.submit(mine, { decision: 'accept', reason: 'x' }, { form: 1 }))).toBe('approval_own');
    const done = await browser.submit(shown, { decision: 'object', reason: 'no incident' }, { form: 1 });
    expect(done.text).toMatch(/objected to by .*bob.* through page.*no incident/s);
    expect(await world.services(who)).toEqual(['dev']);
    const row = (await world.auditRows()).findLast(({ action }) => action === 'approval.review');
    expect(row).toMatchObject({ outcome: 'allowed', subject: 'corp:00u2bob', target: id });
    expect(JSON.parse(row!.detail!)).toMatchObject({ via: 'page', does: 'approvals.review', state: 'objected' });
    const accepted = await browser.submit(done, { decision: 'accept', reason: 'it was one' }, { form: 1 });
    expect(accepted.text).toContain('Review: accepted');
  });

  it('takes no form that another page sends', async () => {
    const [{ id, who }, another] = [await world.ask('00u1alice'), await world.ask('00u1alice')];
    const browser = new Browser();
    const shown = await world.signIn(browser, '00u2bob', `/approvals/${id}`);
    const other = await browser.open(`${world.origin}/approvals/${another.id}`);
    const approve = { decision: 'approve', minutes: '5', reason: '' };
    const attempts: [Record<string, string>, Record<string, string>][] = [
      [{}, { origin: 'https://evil.example' }],
      [{}, { origin: 'null' }],
      [{}, { origin: '' }],
      [{}, { 'sec-fetch-site': 'cross-site' }],
      [{}, { 'sec-fetch-site': 'same-site' }],
      [{ form: '' }, {}],
      [{ form: formsOf(other)[1]!.own.form! }, {}],
      [{ form: formsOf(shown)[0]!.own.form! }, {}],
    ];
    for (const [fields, headers] of attempts) {
      const refused = await browser.submit(shown, { ...approve, ...fields }, { form: 1, headers });
      expect([refused.status, codeOf(refused)]).toEqual([403, 'operator_form_forged']);
    }
    const stranger = await new Browser().submit(shown, approve, { form: 1 });
    expect([stranger.status, codeOf(stranger)]).toEqual([401, 'operator_session_ended']);
    const twice = await browser.submit(shown, { ...approve, more: 'x' }, { form: 1 });
    expect(codeOf(twice)).toBe('request_malformed');
    expect(await world.services(who)).toEqual(['dev']);
  });

  /** Hidden field of a form for a path, which only the session's own cookie yields. */
  function tokenFor(browser: Browser, path: string): string {
    return csrfToken(browser.cookies.get(world.origin)!.get(SESSION)!, path);
  }
});
