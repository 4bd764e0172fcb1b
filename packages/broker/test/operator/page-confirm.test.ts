/** The issuer confirms each person before the page shows them anything: silently if they are still signed in there, and not at all otherwise. */
import { createHmac, randomBytes } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { signInCookie } from '../../src/admin/operator/page/cookies.ts';
import { Browser, type Page } from '../harness/approval/browser.ts';
import { codeOf, type PageWorld, SESSION, startPage } from '../harness/approval/page.ts';

const BOB = '00u2bob';
/** Shorter than the lease of a workspace. */
const CONFIRM_SECONDS = 30;

describe('the page, if the issuer has not confirmed the person in time', () => {
  let world: PageWorld;
  beforeAll(async () => {
    world = await startPage({ trustsNativeClients: true });
    world.harness.mesh.setOperators(world.operators);
  });
  beforeEach(async () => {
    world.harness.confirmSeconds = CONFIRM_SECONDS;
    await world.admin.enable(BOB);
  });
  afterAll(() => world?.stop());

  /** Advances the clock until the confirmation has expired. */
  const expireConfirmation = () => world.advance((CONFIRM_SECONDS + 1) * 1_000);

  const tokenOf = (browser: Browser) => browser.cookies.get(world.origin)!.get(SESSION);
  const list = (browser: Browser, follow = true) => browser.open(`${world.origin}/approvals`, follow);

  it('asks it with prompt=none, and continues with the same session and the requested page', async () => {
    const { id } = await world.ask('00u1alice');
    const browser = new Browser();
    await world.signIn(browser, BOB, `/approvals/${id}`);
    const [token, rows] = [tokenOf(browser), await world.auditRows()];
    expireConfirmation();
    const asked = await browser.open(`${world.origin}/approvals/${id}`, false);
    const location = new URL(asked.headers.get('location')!);
    expect(location.origin).toBe(new URL(world.corp).origin);
    expect(location.searchParams.get('prompt')).toBe('none');
    const shown = await browser.open(location);
    expect([shown.url.href, shown.status]).toEqual([`${world.origin}/approvals/${id}`, 200]);
    expect(tokenOf(browser)).toBe(token);
    expect([...browser.cookies.get(world.origin)!.keys()]).toEqual([SESSION]);
    // Nothing was refused, and nothing changed.
    const since = (await world.auditRows()).slice(rows.length);
    expect(since.filter(({ action }) => action.startsWith('operator.'))).toEqual([]);
  });

  it('leads who is disabled there, or signed out, to the sign-in, and shows nothing', async () => {
    const browser = new Browser();
    await world.signIn(browser, BOB, '/approvals');
    await world.admin.disable(BOB);
    expireConfirmation();
    const shown = await list(browser);
    expect([shown.url.pathname, shown.text.includes('Sign in with corp')]).toEqual(['/page/sign-in', true]);
    await world.admin.enable(BOB);
    browser.cookies.delete(new URL(world.corp).origin);
    expect((await list(browser)).url.pathname).toBe('/page/sign-in');
  });

  it('does not continue the session of one person for another who is signed in at the issuer now', async () => {
    const [bob, alice] = [new Browser(), new Browser()];
    await world.signIn(bob, BOB, '/approvals');
    await world.signIn(alice, '00u1alice', '/approvals');
    expireConfirmation();
    const corp = new URL(world.corp).origin;
    bob.cookies.set(corp, alice.cookies.get(corp)!);
    const refused = await list(bob);
    expect([refused.status, codeOf(refused)]).toEqual([400, 'sign_in_rejected']);
    const again = await list(bob);
    expect(codeOf(again)).toBe('sign_in_rejected');
  });

  it('refuses a form, explains how to be confirmed, and accepts the form when it is sent again', async () => {
    const { id, who } = await world.ask('00u1alice');
    const browser = new Browser();
    const shown = await world.signIn(browser, BOB, `/approvals/${id}`);
    expireConfirmation();
    const answer = (): Promise<Page> =>
      browser.submit(shown, { decision: 'approve', minutes: '5', reason: 'typed' }, { form: 1 });
    const refused = await answer();
    expect([refused.status, codeOf(refused)]).toEqual([401, 'operator_unconfirmed']);
    expect(refused.text).toContain(`<a href="/approvals/${id}" target="_blank" rel="noopener">`);
    expect(await world.services(who)).toEqual(['dev']);
    expect((await browser.open(`${world.origin}/approvals/${id}`)).status).toBe(200);
    const done = await answer();
    expect(done.text).toMatch(/approved by .*bob.*typed/s);
    expect(await world.services(who)).toEqual(['dev', 'prod']);
  });

  it('takes the silent answer once, in the browser that was asked, and opens no session by it', async () => {
    const [browser, other] = [new Browser(), new Browser()];
    await world.signIn(browser, BOB, '/approvals');
    expireConfirmation();
    const asked = await list(browser, false);
    const answered = await browser.open(asked.headers.get('location')!, false);
    const callback = answered.headers.get('location')!;
    expect(new URL(callback).origin).toBe(world.origin);
    expect(codeOf(await other.open(callback))).toBe('proof_rejected');
    const kept = new Map(browser.cookies.get(world.origin)!);
    const session = kept.get(SESSION)!;
    // An answer for a session that the browser no longer has signs no one in.
    browser.cookies.get(world.origin)!.delete(SESSION);
    const without = await browser.open(callback, false);
    expect(without.headers.get('location')).toBe('/page/sign-in');
    expect(tokenOf(browser)).toBeUndefined();
    browser.cookies.set(world.origin, new Map([...kept, [SESSION, session]]));
    expect(codeOf(await browser.open(callback))).toBe('proof_rejected');
  });

  it('requires a new sign-in after a restart', async () => {
    const browser = new Browser();
    await world.signIn(browser, BOB, '/approvals');
    await world.harness.restart();
    const ended = await list(browser);
    expect([ended.status, codeOf(ended)]).toEqual([401, 'operator_session_ended']);
    expect(ended.text).toContain('<a href="/page/sign-in">Sign in</a>');
    expect((await world.signIn(browser, BOB, '/approvals')).url.pathname).toBe('/approvals');
  });

  it('allows an unconfirmed person to sign out', async () => {
    const browser = new Browser();
    const shown = await world.signIn(browser, BOB, '/approvals');
    expireConfirmation();
    expect((await browser.submit(shown)).url.pathname).toBe('/page/sign-in');
    expect(tokenOf(browser)).toBeUndefined();
  });
});

it('requires a new sign-in if the provider does not answer native clients without a prompt (RFC 8252 section 8.6)', async () => {
  const world = await startPage();
  world.harness.mesh.setOperators(world.operators);
  try {
    const browser = new Browser();
    await world.signIn(browser, BOB, '/approvals');
    world.harness.confirmSeconds = 0;
    const shown = await browser.open(`${world.origin}/approvals`);
    expect([shown.url.pathname, shown.text.includes('Sign in with corp')]).toEqual(['/page/sign-in', true]);
    world.harness.confirmSeconds = 300;
    expect((await world.signIn(browser, BOB, '/approvals')).url.pathname).toBe('/approvals');
  } finally {
    await world.stop();
  }
});

it('limits the requests to the provider that strangers cause with invented answers', async () => {
  const world = await startPage();
  world.harness.mesh.setOperators(world.operators);
  const answer = async (silent: string) => {
    const secret = randomBytes(32).toString('base64url');
    const state = createHmac('sha256', secret).update('meshpass page state').digest('base64url');
    const query = new URLSearchParams({ code: 'made-up', state, iss: world.corp });
    const headers = { cookie: `${signInCookie(state)}=${secret}.corp.${silent}` };
    const { status } = await fetch(`${world.origin}/page/callback/corp?${query}`, { headers, redirect: 'manual' });
    return status;
  };
  try {
    // An answer to no sign-in of this browser does not count: the sign-in may have expired.
    for (let n = 0; n < 15; n++)
      expect((await new Browser().open(`${world.origin}/page/callback/corp?code=a&state=b`)).status).toBe(400);
    const all: number[] = [];
    for (let n = 0; n < 12; n++) all.push(await answer(n % 2 ? '.silent' : ''));
    expect(all.slice(0, 10)).toEqual(Array(10).fill(400));
    expect(all.at(-1)).toBe(429);
  } finally {
    await world.stop();
  }
});
