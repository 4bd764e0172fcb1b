/** Several tabs of one browser at the page's sign-in: each has its own answer, and no other browser has a use for it. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { signInCookie } from '../../src/admin/operator/page/cookies.ts';
import { Browser, type Page } from '../harness/approval/browser.ts';
import { codeOf, type PageWorld, SESSION, signInsOf, startPage } from '../harness/approval/page.ts';

const BOB = '00u2bob';
/** Sign-ins under way in one browser. */
const MOST = 8;

describe('sign-ins under way in one browser', () => {
  let world: PageWorld;
  /** Delays the next exchange of a code after the provider has answered it. */
  let hold: Promise<void> | undefined;
  let isHeld = () => {};
  beforeAll(async () => {
    const held: typeof fetch = async (...asked) => {
      const answer = await fetch(...asked);
      const [holding, method] = [hold, asked[1]?.method];
      if (method !== 'POST' || !holding) return answer;
      hold = undefined;
      isHeld();
      await holding;
      return answer;
    };
    world = await startPage({ trustsNativeClients: true, fetch: held });
  });
  beforeEach(() => {
    world.harness.mesh.setOperators(world.operators);
    world.harness.confirmSeconds = 300;
  });
  afterAll(() => world?.stop());

  const begin = (browser: Browser) => browser.open(`${world.origin}/page/sign-in/corp`, false);
  const stateOf = (page: Page) => new URL(page.headers.get('location')!).searchParams.get('state')!;
  const namesOf = (browser: Browser) => [...browser.cookies.get(world.origin)!.keys()];

  /** Two tabs that wait for a silent answer, which the provider has given. */
  async function twoUnconfirmed(browser: Browser): Promise<readonly [string, string]> {
    await world.signIn(browser, BOB, '/approvals');
    world.harness.confirmSeconds = 0;
    const callbacks: string[] = [];
    for (let n = 0; n < 2; n++) {
      const asked = await browser.open(`${world.origin}/approvals`, false);
      const answered = await browser.open(asked.headers.get('location')!, false);
      callbacks.push(answered.headers.get('location')!);
    }
    world.harness.confirmSeconds = 300;
    expect(signInsOf(browser, world.origin)).toHaveLength(2);
    return callbacks as [string, string];
  }

  it.each([
    ['in the order in which they began', [0, 1]],
    ['in the other', [1, 0]],
  ] as const)('all finish, %s, and leave no cookie', async (_, [first, second]) => {
    const browser = new Browser();
    const callbacks = [await world.callbackOf(browser, BOB), await world.callbackOf(browser, BOB)];
    const done = await browser.open(callbacks[first]!);
    expect([done.status, done.url.pathname]).toEqual([200, '/approvals']);
    expect(signInsOf(browser, world.origin)).toHaveLength(1);
    const later = await browser.open(callbacks[second]!);
    expect([later.status, later.url.pathname]).toEqual([200, '/approvals']);
    expect(namesOf(browser)).toEqual([SESSION]);
    // Neither answer counts again.
    for (const callback of callbacks) expect(codeOf(await browser.open(callback))).toBe('proof_rejected');
  });

  it.each([
    ['in the order in which they began', [0, 1]],
    ['in the other', [1, 0]],
  ] as const)('all confirm the session silently, %s, and leave no cookie', async (_, [first, second]) => {
    const browser = new Browser();
    const callbacks = await twoUnconfirmed(browser);
    for (const at of [first, second]) {
      const shown = await browser.open(callbacks[at]!);
      expect([shown.status, shown.url.pathname], codeOf(shown)).toEqual([200, '/approvals']);
    }
    expect(namesOf(browser)).toEqual([SESSION]);
  });

  it('shows the page even if the other tab has brought a later answer of the provider by then', async () => {
    const browser = new Browser();
    const [early, late] = await twoUnconfirmed(browser);
    let release = () => {};
    const held = new Promise<void>((resolve) => {
      isHeld = resolve;
    });
    hold = new Promise<void>((resolve) => {
      release = resolve;
    });
    const waiting = browser.open(early);
    await held;
    // ID tokens are dated by the second.
    world.advance(1_100);
    expect((await browser.open(late)).url.pathname).toBe('/approvals');
    release();
    const shown = await waiting;
    expect([shown.status, shown.url.pathname], codeOf(shown)).toEqual([200, '/approvals']);
    expect(namesOf(browser)).toEqual([SESSION]);
  });

  it('have no use for the answer, or for the cookie, of another', async () => {
    const [bob, victim] = [new Browser(), new Browser()];
    const callback = new URL(await world.callbackOf(bob, BOB));
    for (let n = 0; n < 3; n++) await begin(victim);
    expect(codeOf(await victim.open(callback))).toBe('proof_rejected');
    // As if the victim's own sign-in were that of the answer.
    const jar = victim.cookies.get(world.origin)!;
    const [own] = signInsOf(victim, world.origin);
    jar.set(signInCookie(callback.searchParams.get('state')!), jar.get(own!)!);
    expect(codeOf(await victim.open(callback))).toBe('proof_rejected');
    const other = new URL(callback);
    other.searchParams.set('state', stateOf(await begin(bob)));
    expect(codeOf(await bob.open(other))).toBe('proof_rejected');
    expect(jar.has(SESSION)).toBe(false);
    expect((await bob.open(callback)).url.pathname).toBe('/approvals');
  });

  it(`are ${MOST} at most: one more takes the place of the oldest`, async () => {
    const browser = new Browser();
    await begin(browser);
    browser.cookies.get(world.origin)!.set('of-a-neighbour', 'x');
    const begun: string[] = [];
    for (let n = 0; n < MOST + 3; n++) {
      begun.push(signInCookie(stateOf(await begin(browser))));
      expect(signInsOf(browser, world.origin).length).toBeLessThanOrEqual(MOST);
    }
    expect(signInsOf(browser, world.origin)).toEqual(begun.slice(-MOST));
    expect(namesOf(browser)).toContain('of-a-neighbour');
    const callback = await world.callbackOf(browser, BOB);
    expect((await browser.open(callback)).url.pathname).toBe('/approvals');
    const header = [...browser.cookies.get(world.origin)!].map((one) => one.join('=')).join('; ');
    expect(header.length).toBeLessThan(2_048);
  });

  it('begin in a tab, and not inside of another page', async () => {
    const browser = new Browser();
    await world.signIn(browser, BOB, '/approvals');
    const cookie = `${SESSION}=${browser.cookies.get(world.origin)!.get(SESSION)}`;
    world.harness.confirmSeconds = 0;
    const asked = async (path: string, into: string, more: Record<string, string> = {}) => {
      const headers = { cookie, 'sec-fetch-dest': into, ...more };
      const answer = await fetch(world.origin + path, { headers, redirect: 'manual' });
      return [answer.status, answer.headers.getSetCookie().length];
    };
    for (const path of ['/page/sign-in/corp', '/approvals', `/approvals/${'0'.repeat(24)}`]) {
      expect(await asked(path, 'document')).toEqual([303, 1]);
      for (const into of ['image', 'iframe', 'empty']) expect(await asked(path, into)).toEqual([400, 0]);
      // Speculation rules of a page of the same site.
      expect(await asked(path, 'document', { 'sec-purpose': 'prefetch;prerender' })).toEqual([400, 0]);
    }
  });
});
