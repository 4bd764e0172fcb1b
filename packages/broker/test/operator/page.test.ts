/** The sign-in of browsers on the broker's page, and the session that they have then. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Browser } from '../harness/approval/browser.ts';
import { codeOf, type PageWorld, SESSION, signInsOf, startPage } from '../harness/approval/page.ts';
import { dpop, newKey, startHarness } from '../harness/broker.ts';

describe('the page', () => {
  let world: PageWorld;
  beforeAll(async () => {
    world = await startPage();
  });
  beforeEach(() => world.harness.mesh.setOperators(world.operators));
  afterAll(() => world?.stop());

  it('keeps its cookies to itself, and its session to the page', async () => {
    const browser = new Browser();
    const begun = await new Browser().open(`${world.origin}/page/sign-in/corp`, false);
    expect(begun.headers.get('set-cookie')).toMatch(
      /^__Host-meshpass-sign-in-[A-Za-z0-9_-]{22}=[^;]*; Max-Age=600; Path=\/; HttpOnly; Secure; SameSite=Lax$/,
    );
    const shown = await world.signIn(browser, '00u2bob', '/approvals');
    const policy = shown.headers.get('content-security-policy');
    expect(policy).toMatch(
      /^default-src 'none'; style-src 'sha256-[^']+'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'$/,
    );
    expect(Object.fromEntries(shown.headers)).toMatchObject({
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
      'referrer-policy': 'same-origin',
    });
    const jar = browser.cookies.get(world.origin)!;
    expect([...jar.keys()]).toEqual([SESSION]);
    const token = jar.get(SESSION)!;
    const key = newKey();
    const proof = dpop({ key, method: 'GET', path: '/admin/sessions', now: world.harness.now(), accessToken: token });
    const api = await world.harness.operatorCall({
      path: '/admin/sessions',
      headers: { authorization: `DPoP ${token}`, dpop: proof },
    });
    expect(api.json.error_code).toBe('operator_unauthorized');
    const withCookie = await world.harness.operatorCall({
      path: '/admin/sessions',
      headers: { cookie: `${SESSION}=${token}` },
    });
    expect(withCookie.json.error_code).toBe('operator_unauthorized');
    expect(world.harness.log.join('')).not.toContain(token);
  });

  it('gives a new session at each sign-in, whatever cookie was there before', async () => {
    const browser = new Browser();
    const planted = `mpo_${'A'.repeat(43)}`;
    browser.cookies.set(world.origin, new Map([[SESSION, planted]]));
    expect(codeOf(await browser.open(`${world.origin}/approvals`))).toBe('operator_session_ended');
    await world.signIn(browser, '00u2bob', '/approvals');
    const first = browser.cookies.get(world.origin)!.get(SESSION);
    expect(first).toMatch(/^mpo_/);
    expect(first).not.toBe(planted);
    await world.signIn(browser, '00u2bob', '/approvals');
    expect(browser.cookies.get(world.origin)!.get(SESSION)).not.toBe(first);
  });

  it('takes the answer to a sign-in once, in the browser that began it, of the issuer that was asked', async () => {
    const [bob, victim] = [new Browser(), new Browser()];
    const callback = await world.callbackOf(bob, '00u2bob');
    // Another person's answer, in a browser that has begun no sign-in or another one.
    expect(codeOf(await victim.open(callback))).toBe('proof_rejected');
    await victim.open(`${world.origin}/page/sign-in/corp`, false);
    expect(codeOf(await victim.open(callback))).toBe('proof_rejected');
    expect(victim.cookies.get(world.origin)!.has(SESSION)).toBe(false);
    const changed = async (name: string, value: string) => {
      const url = new URL(callback);
      url.searchParams.set(name, value);
      return codeOf(await bob.open(url));
    };
    expect(await changed('state', 'another')).toBe('proof_rejected');
    expect(await changed('iss', world.other)).toBe('proof_rejected');
    const twice = new URL(callback);
    twice.searchParams.append('code', 'another');
    expect(codeOf(await bob.open(twice))).toBe('proof_rejected');
    const mixed = new URL(callback);
    mixed.pathname = '/page/callback/other';
    expect(codeOf(await bob.open(mixed))).toBe('proof_rejected');
    const [own] = signInsOf(bob, world.origin);
    const kept = bob.cookies.get(world.origin)!.get(own!)!;
    expect((await bob.open(callback)).status).toBe(200);
    bob.cookies.get(world.origin)!.set(own!, kept);
    expect(codeOf(await bob.open(callback))).toBe('proof_rejected');
    expect(codeOf(await bob.open(`${world.origin}/page/sign-in/nobody`))).toBe('not_found');
  });

  it('leads to nothing but its own pages and the issuers of the access file', async () => {
    for (const request of ['//evil.example', 'https://evil.example', '%2F%2Fevil.example', '../admin']) {
      const page = await new Browser().open(`${world.origin}/page/sign-in?request=${request}`);
      expect(page.text).not.toContain('evil');
      const begun = await new Browser().open(`${world.origin}/page/sign-in/corp?request=${request}`, false);
      expect(new URL(begun.headers.get('location')!).origin).toBe(new URL(world.corp).origin);
    }
    const browser = new Browser();
    const callback = new URL(await world.callbackOf(browser, '00u2bob'));
    callback.searchParams.set('request', '//evil.example');
    const done = await browser.open(callback, false);
    expect(done.headers.get('location')).toBe('/approvals');
    const strange = await new Browser().open(`${world.origin}/approvals/..%2F..%2Fevil`, false);
    expect(strange.headers.get('location')).toBe('/page/sign-in');
  });

  it('keeps its sessions if a client at the same address invents cookies, or answers that the issuer refuses', async () => {
    // Refusals of other tests no longer count.
    world.harness.clockAhead += 120_000;
    const bob = new Browser();
    await world.signIn(bob, '00u2bob', '/approvals');
    const cookies: (string | undefined)[] = [];
    for (let n = 0; n < 11; n++) {
      const eve = new Browser();
      eve.cookies.set(world.origin, new Map([[SESSION, `mpo_${String(n).padStart(43, 'A')}`]]));
      cookies.push(codeOf(await eve.open(`${world.origin}/approvals`)));
    }
    expect(new Set(cookies)).toEqual(new Set(['operator_session_ended']));
    await world.signIn(new Browser(), '00u2bob', '/approvals');
    const eve = new Browser();
    const callback = new URL(await world.callbackOf(eve, '00u2bob'));
    const answers: (string | undefined)[] = [];
    for (let n = 0; n < 11; n++) {
      callback.searchParams.set('code', `invented-${n}`);
      answers.push(codeOf(await eve.open(callback)));
    }
    expect(answers).toEqual([...Array(10).fill('proof_rejected'), 'too_many_attempts']);
    expect((await bob.open(`${world.origin}/approvals`)).status).toBe(200);
    world.harness.clockAhead += 120_000;
  });

  it('ends when the operator signs out, and when the access file removes the role', async () => {
    const browser = new Browser();
    const shown = await world.signIn(browser, '00u2bob', '/approvals');
    const token = browser.cookies.get(world.origin)!.get(SESSION)!;
    const out = await browser.submit(shown);
    expect(out.url.pathname).toBe('/page/sign-in');
    expect(browser.cookies.get(world.origin)!.has(SESSION)).toBe(false);
    browser.cookies.get(world.origin)!.set(SESSION, token);
    expect(codeOf(await browser.open(`${world.origin}/approvals`))).toBe('operator_session_ended');
    await world.signIn(browser, '00u2bob', '/approvals');
    world.harness.mesh.setOperators({
      ...world.operators,
      roles: { ...world.operators.roles, viewer: [], approver: [] },
    });
    const lost = await browser.open(`${world.origin}/approvals`);
    expect([lost.status, codeOf(lost)]).toEqual([401, 'operator_session_ended']);
  });

  it('does not exist if the broker has no address for browsers', async () => {
    const without = await startHarness();
    try {
      expect((await without.operatorCall('/approvals')).status).toBe(404);
      expect((await without.operatorCall('/page/sign-in')).status).toBe(404);
    } finally {
      await without.stop();
    }
  });
});
