/** `meshpass login` against real OpenID Connect providers of two code bases and a real broker, and attacks in between. */
import { chmodSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { BUILD_MS } from '@meshpass/lab/oidc/zitadel';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createBrowser, enterCode, signInAt, signOutAt } from './browser.ts';
import {
  begin,
  LOGIN,
  meshpass,
  ownState,
  PROVIDERS,
  type ProviderName,
  startAt,
  URL_LINE,
  type World,
} from './world.ts';

let world: World;
const stateOf = ownState(() => world.operator);

describe.each(Object.keys(PROVIDERS) as ProviderName[])('at %s', (name) => {
  beforeAll(async () => {
    world = await startAt(name);
  }, BUILD_MS);
  afterAll(() => world?.close());

  describe('by the browser', () => {
    it('signs in, and the other commands are made as that person until they sign out', async () => {
      const login = begin(...LOGIN);
      const page = await signInAt(createBrowser(), await login.seen(URL_LINE), '00u2bob');
      expect(page.html).toContain('Return to the terminal');
      expect(await login.code).toBe(0);
      expect(login.out.join('\n')).toMatch(/^You are bob \(acme:00u2bob\): operator\. Until 20/);
      const [file] = readdirSync(stateOf());
      expect(statSync(join(stateOf(), file!)).mode & 0o777).toBe(0o600);
      const { out } = await meshpass('whoami', '--output', 'json');
      expect(JSON.parse(out)).toMatchObject({
        operator: { subject: 'acme:00u2bob', roles: [{ role: 'operator', place: 'access.yaml:3:14' }] },
      });
      expect((await meshpass('sessions', 'list')).out).toBe('No live sessions.');
      const refused = await meshpass('sessions', 'close', '--all', '--yes', '--reason', 'because');
      expect(refused.err).toContain('[operator_forbidden]');
      expect((await meshpass('logout')).out).toBe('Signed out.');
      expect((await meshpass('whoami')).err).toContain('Run meshpass login');
      expect((await meshpass('logout')).out).toBe('You were not signed in.');
    });

    it('ends at once when the person signs out at the provider (back-channel logout)', async () => {
      const login = begin(...LOGIN);
      const browser = createBrowser();
      await signInAt(browser, await login.seen(URL_LINE), '00u2bob');
      expect(await login.code).toBe(0);
      expect((await meshpass('whoami')).out).toContain('bob (acme:00u2bob)');
      await signOutAt(browser, world.idp.issuer);
      expect((await meshpass('whoami')).err).toContain('[operator_session_ended]');
      // The command also deletes the refresh token, which a provider may still accept.
      expect(readdirSync(stateOf())).toEqual([]);
      const again = begin(...LOGIN);
      await signInAt(browser, await again.seen(URL_LINE), '00u2bob');
      expect(await again.code).toBe(0);
    });

    it('names a person without a role', async () => {
      const login = begin(...LOGIN);
      await signInAt(createBrowser(), await login.seen(URL_LINE), '00u1alice');
      expect(await login.code).toBe(1);
      expect(login.said.join('\n')).toContain('[operator_no_role]');
      expect(readdirSync(stateOf())).toEqual([]);
    });

    it('uses PKCE with S256, a state, and a nonce', async () => {
      const login = begin(...LOGIN);
      const url = new URL(await login.seen(URL_LINE));
      const { code_challenge_method, code_challenge, state, nonce, redirect_uri } = Object.fromEntries(
        url.searchParams,
      );
      expect(code_challenge_method).toBe('S256');
      expect([code_challenge, state, nonce].map((one) => one?.length)).toEqual([43, 43, 43]);
      expect(redirect_uri).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/callback$/);
      await signInAt(createBrowser(), url.href, '00u2bob');
      expect(await login.code).toBe(0);
    });
  });

  /** Signs in and stops before the browser calls the command, so that a test can send another answer. */
  async function answerOf(login: ReturnType<typeof begin>): Promise<URL> {
    const url = await login.seen(URL_LINE);
    const redirect = new URL(url).searchParams.get('redirect_uri')!;
    const page = await signInAt(
      createBrowser((next) => next.startsWith(redirect)),
      url,
      '00u2bob',
    );
    return new URL(page.url);
  }

  function changed(url: URL, members: Record<string, string | undefined>): URL {
    const copy = new URL(url);
    for (const [name, value] of Object.entries(members)) {
      if (value === undefined) copy.searchParams.delete(name);
      else copy.searchParams.set(name, value);
    }
    return copy;
  }

  describe('the page that the browser comes back to', () => {
    it('refuses an answer with another state, or with none, and the sign-in continues (CSRF)', async () => {
      const login = begin(...LOGIN);
      const answer = await answerOf(login);
      for (const state of ['x'.repeat(43), undefined, ''])
        expect((await fetch(changed(answer, { state }))).status).toBe(400);
      const twice = new URL(answer);
      twice.searchParams.append('state', 'x');
      expect((await fetch(twice)).status).toBe(400);
      expect((await fetch(answer)).status).toBe(200);
      expect(await login.code).toBe(0);
    });

    it('accepts one answer', async () => {
      const login = begin(...LOGIN);
      const answer = await answerOf(login);
      expect((await fetch(answer)).status).toBe(200);
      const second = await fetch(answer).then(
        ({ status }) => status,
        () => 'closed',
      );
      expect([400, 'closed']).toContain(second);
      expect(await login.code).toBe(0);
    });

    it('fails on an answer of another issuer (mix-up), and on a missing issuer that the provider announces', async () => {
      for (const iss of ['https://evil.example', ...(PROVIDERS[name].namesItself ? [undefined] : [])]) {
        const login = begin(...LOGIN);
        await fetch(changed(await answerOf(login), { iss }));
        expect(await login.code).toBe(1);
        expect(login.said.join('\n')).toContain('[proof_rejected]');
      }
    });

    it('fails on a code that was not issued for this sign-in (code injection)', async () => {
      const first = begin(...LOGIN);
      const stolen = (await answerOf(first)).searchParams.get('code')!;
      const second = begin(...LOGIN);
      await fetch(changed(await answerOf(second), { code: stolen }));
      expect(await second.code).toBe(1);
      expect(second.said.join('\n')).toContain('[proof_rejected]');
      await fetch(changed(new URL(await first.seen(URL_LINE)), {})).catch(() => {});
    });

    it('repeats nothing of the request, and redirects nowhere (open redirect)', async () => {
      const login = begin(...LOGIN);
      const answer = await answerOf(login);
      const page = await fetch(
        changed(answer, {
          state: '<script>alert(1)</script>',
          next: 'https://evil.example',
          redirect_uri: 'https://evil.example',
        }),
        { redirect: 'manual' },
      );
      expect(page.status).toBe(400);
      expect(page.headers.get('location')).toBeNull();
      expect(page.headers.get('content-security-policy')).toContain("default-src 'none'");
      expect(await page.text()).not.toMatch(/script|evil/);
      expect((await fetch(new URL('/', answer))).status).toBe(404);
      expect((await fetch(answer, { method: 'POST' })).status).toBe(404);
      await fetch(answer);
      expect(await login.code).toBe(0);
    });

    it('prints why the issuer refused the sign-in', async () => {
      const login = begin(...LOGIN);
      const answer = await answerOf(login);
      await fetch(changed(answer, { code: undefined, error: 'access_denied' }));
      expect(await login.code).toBe(1);
      expect(login.said.join('\n')).toContain('did not sign you in: access_denied');
    });
  });

  const byCode = async (login: ReturnType<typeof begin>) => enterCode(await login.seen(/Or open (http\S+)/), '00u2bob');

  it('signs in by a code on another device, if the access file allows that', async () => {
    const refused = begin('login', '--device');
    await byCode(refused);
    expect(await refused.code).toBe(1);
    expect(refused.said.at(-1)).toContain('set "operators.deviceFlow: true"');
    const { operators } = world.harness.mesh.access();
    world.harness.mesh.setOperators({ ...operators!, deviceFlow: true });
    const login = begin('login', '--device');
    await byCode(login);
    expect(await login.code).toBe(0);
    expect(login.out.join('\n')).toContain('You are bob');
    world.harness.mesh.setOperators(operators);
  });

  it('refuses a file of the session that others may read', async () => {
    const login = begin(...LOGIN);
    await signInAt(createBrowser(), await login.seen(URL_LINE), '00u2bob');
    await login.code;
    chmodSync(join(stateOf(), readdirSync(stateOf())[0]!), 0o644);
    expect((await meshpass('whoami')).err).toContain('other users can read it');
  });
});
