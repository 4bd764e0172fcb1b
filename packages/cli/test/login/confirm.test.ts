/** The issuer confirms who has signed in, again and again, by the refresh token of `meshpass login`: at real providers of two code bases. */
import { chmodSync, readdirSync, readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { BUILD_MS } from '@meshpass/lab/oidc/zitadel';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { OPERATOR_TOKEN } from '../../../broker/test/harness/broker.ts';
import { pidNamespaceId } from '../../src/login/lock-file.ts';
import { SessionFile, type StoredRefreshToken } from '../../src/login/session-file.ts';
import { refreshTokens } from '../../src/login/tokens.ts';
import { createBrowser, signInAt } from './browser.ts';
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

const BOB = '00u2bob';

let world: World;
const stateOf = ownState(() => world.operator);

async function login(): Promise<void> {
  const begun = begin(...LOGIN);
  await signInAt(createBrowser(), await begun.seen(URL_LINE), BOB);
  expect(await begun.code, begun.said.join('\n')).toBe(0);
}

/** Shorter than outside of a lab: the time of the provider is the real one. */
function confirmEvery(seconds: number): void {
  world.harness.confirmSeconds = seconds;
}

const fileOf = () => join(stateOf(), readdirSync(stateOf()).find((name) => name.endsWith('.json'))!);
const stored = () =>
  JSON.parse(readFileSync(fileOf(), 'utf8')) as { refresh?: StoredRefreshToken; confirmUntil: number; token: string };

/** The next command has it confirmed first. */
async function makeDue(): Promise<void> {
  writeFileSync(fileOf(), JSON.stringify({ ...stored(), confirmUntil: 0 }));
}

async function refusals(): Promise<number> {
  const headers = { authorization: `Bearer ${OPERATOR_TOKEN}` };
  const { json } = await world.harness.operatorCall({ path: '/audit?last=100', headers });
  return json.rows.filter(({ code }: { code: string | null }) => code === 'operator_unconfirmed').length;
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

describe.each(Object.keys(PROVIDERS) as ProviderName[])('at %s', (name) => {
  beforeAll(async () => {
    world = await startAt(name);
  }, BUILD_MS);
  afterAll(() => world?.close());
  beforeEach(async () => {
    confirmEvery(300);
    await world.idp.admin.enable(BOB);
  });

  it('continues by itself with another refresh token each time, and the broker refuses no further request', async () => {
    await login();
    const [first, before] = [stored(), await refusals()];
    expect(first.refresh?.token).toMatch(/./);
    expect(statSync(fileOf()).mode & 0o777).toBe(0o600);
    confirmEvery(4);
    // The broker's last answer no longer holds, and the command does not know it.
    await pause(4_100);
    expect((await meshpass('whoami')).out).toContain(`bob (acme:${BOB})`);
    const second = stored();
    expect(second.token).not.toBe(first.token);
    expect(second.refresh?.token).not.toBe(first.refresh?.token);
    expect(await refusals()).toBe(before + 1);
    // At once: a provider may give the same ID token again in one second.
    const listed = JSON.parse((await meshpass('operators', 'list', '--output', 'json')).out);
    const at = listed.sessions.map((one: { confirmed_at: string }) => Date.parse(one.confirmed_at));
    expect(Math.max(...at)).toBeGreaterThan(Date.now() - 10_000);
    expect((await meshpass('operators', 'list')).out).toMatch(/bob {2,}acme:00u2bob {2,}operator .* 20\S+ {2}20/);
    // Now it does, and has it confirmed before it is refused.
    expect(await meshpass('whoami')).toMatchObject({ code: 0, err: '' });
    expect(stored().refresh?.token).not.toBe(second.refresh?.token);
    expect(await refusals()).toBe(before + 1);
    for (const line of world.harness.log) expect(line).not.toContain(second.refresh!.token);
  });

  it('refreshes once if several commands run at the same time: most issuers accept a refresh token once', async () => {
    await login();
    confirmEvery(30);
    await makeDue();
    const all = await Promise.all(Array.from({ length: 4 }, () => begin('whoami').code));
    expect(all).toEqual([0, 0, 0, 0]);
    await makeDue();
    expect(await meshpass('whoami')).toMatchObject({ code: 0, err: '' });
    expect(readdirSync(stateOf())).toHaveLength(1);
  });

  it('takes over from a command that was killed', async () => {
    await login();
    const lock = `${fileOf()}.lock`;
    for (const [owner, age] of [
      [`4194305 ${pidNamespaceId()} gone`, 0],
      [`${process.pid} another that took its number`, 200],
    ] as const) {
      writeFileSync(lock, owner);
      const then = Date.now() / 1000 - age;
      utimesSync(lock, then, then);
      await makeDue();
      expect(await meshpass('whoami')).toMatchObject({ code: 0, err: '' });
    }
    expect(readdirSync(stateOf())).toHaveLength(1);
  });

  it('ends for a person whom the provider has disabled, and says what to do', async () => {
    await login();
    await world.idp.admin.disable(BOB);
    confirmEvery(1);
    await pause(1_100);
    const { code, err } = await meshpass('sessions', 'list');
    expect(code).toBe(1);
    expect(err).toMatch(/acme no longer confirms your identity: run meshpass login\. +\[operator_unconfirmed\]/);
    expect(stored().refresh).toBeUndefined();
    expect((await meshpass('sessions', 'list')).err).toMatch(
      /The session has no refresh token for the issuer to confirm your identity: run meshpass login\. +\[operator_unconfirmed\]/,
    );
    expect((await meshpass('logout')).out).toBe('Signed out.');
  });

  it('keeps the refresh token while the provider does not answer', async () => {
    await login();
    await world.idp.admin.setDown(true);
    await makeDue();
    try {
      expect((await meshpass('whoami')).err).toContain('[issuer_unavailable]');
    } finally {
      await world.idp.admin.setDown(false);
    }
    expect(await meshpass('whoami')).toMatchObject({ code: 0, err: '' });
  });

  it('takes the refresh token back at the provider: at logout, and at the next login', async () => {
    await login();
    const first = stored().refresh!;
    await login();
    const second = stored().refresh!;
    expect(await refreshTokens(first)).toBeUndefined();
    const { out } = await meshpass('logout', '--output', 'json');
    expect(JSON.parse(out)).toEqual({ signed_out: true, refresh_token_revoked: true });
    expect(await refreshTokens(second)).toBeUndefined();
    expect(readdirSync(stateOf())).toEqual([]);
  });

  it('takes one back that others could read, at the login that the refusal asks for', async () => {
    await login();
    const leaked = stored().refresh!;
    chmodSync(fileOf(), 0o644);
    expect((await meshpass('whoami')).err).toContain('other users can read it');
    await login();
    expect(await refreshTokens(leaked)).toBeUndefined();
    expect(await meshpass('whoami')).toMatchObject({ code: 0, err: '' });
  });

  it('keeps nothing of a session that its broker has ended, and all of it where another broker answers', async () => {
    await login();
    const refresh = stored().refresh!;
    const headers = { authorization: `Bearer ${OPERATOR_TOKEN}`, 'content-type': 'application/json' };
    const body = JSON.stringify({ subject: `acme:${BOB}`, reason: 'left' });
    const close = { method: 'POST', path: '/operator/sessions/close', headers, body };
    expect((await world.harness.operatorCall(close)).status).toBe(200);
    const [path, own] = [fileOf(), readFileSync(fileOf(), 'utf8')];
    // Behind the same port-forward, on another day.
    const unknown = `${JSON.parse(own).token.slice(0, -8)}AAAAAAAA`;
    writeFileSync(path, JSON.stringify({ ...JSON.parse(own), broker: 'https://another.example', token: unknown }));
    expect((await meshpass('whoami')).err).toContain('[operator_session_ended]');
    expect(stored().refresh).toEqual(refresh);
    writeFileSync(path, own);
    expect((await meshpass('whoami')).err).toContain('[operator_session_ended]');
    expect(readdirSync(stateOf())).toEqual([]);
    expect(await refreshTokens(refresh)).toBeUndefined();
  });

  it('leaves a session alone that has come in the place of the one that it was about', async () => {
    await login();
    const file = new SessionFile(world.operator);
    const before = file.read()!;
    await login();
    const after = readFileSync(fileOf(), 'utf8');
    file.change(before, { refresh: before.refresh, confirmUntil: 0 });
    expect(readFileSync(fileOf(), 'utf8')).toBe(after);
  });

  it('asks for no refresh token where the access file says so, and the session lasts until it has to be confirmed', async () => {
    const { mesh } = world.harness;
    const { grants, trust, operators } = mesh.access();
    const issuers = trust.issuers.map((one) => ({ ...one, signIn: { ...one.signIn!, refresh: false } }));
    mesh.setAccess(grants, [], { issuers });
    mesh.setOperators(operators);
    try {
      const begun = begin(...LOGIN);
      const url = new URL(await begun.seen(URL_LINE));
      expect([url.searchParams.get('scope'), url.searchParams.get('prompt')]).toEqual(['openid groups email', null]);
      await signInAt(createBrowser(), url.href, BOB);
      expect(await begun.code).toBe(0);
      expect(begun.said.at(-1)).toMatch(/^acme did not issue a refresh token\. Sign in again after 20\S+Z\.$/);
      expect(stored().refresh).toBeUndefined();
      expect(await meshpass('whoami')).toMatchObject({ code: 0, err: '' });
      confirmEvery(1);
      await pause(1_100);
      expect((await meshpass('whoami')).err).toMatch(/run meshpass login\. +\[operator_unconfirmed\]/);
    } finally {
      mesh.setAccess(grants, [], trust);
      mesh.setOperators(operators);
    }
  });

  it('asks with prompt=consent for a refresh token, unless the access file says that the provider refuses that', async () => {
    const { mesh } = world.harness;
    const { grants, trust, operators } = mesh.access();
    const prompts: (string | null)[] = [];
    for (const consent of [undefined, false]) {
      mesh.setAccess(grants, [], {
        issuers: trust.issuers.map((one) => ({ ...one, signIn: { ...one.signIn!, consent } })),
      });
      mesh.setOperators(operators);
      const begun = begin(...LOGIN);
      const url = new URL(await begun.seen(URL_LINE));
      expect(url.searchParams.get('scope')).toBe('openid offline_access groups email');
      prompts.push(url.searchParams.get('prompt'));
      await signInAt(createBrowser(), url.href, BOB);
      expect(await begun.code).toBe(0);
    }
    mesh.setAccess(grants, [], trust);
    mesh.setOperators(operators);
    expect(prompts).toEqual(['consent', null]);
  });
});
