/** Sign-ins with real providers from two code bases, over TLS, which the agent keeps confirmed. */
import { dpopThumbprint } from '@meshpass/identity';
import type { SignInState } from '@meshpass/identity/sign-in';
import { idpAdmin, type ProviderAdmin } from '@meshpass/lab/oidc/admin-client';
import { signInAs } from '@meshpass/lab/oidc/browser';
import { startIdp } from '@meshpass/lab/oidc/idp';
import { BUILD_MS, startZitadel } from '@meshpass/lab/oidc/zitadel';
import { decodeJwt } from 'jose';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { generateDpopKey } from '../../src/session/enrol.ts';
import type { SignInPrompt } from '../../src/sign-in/device-flow.ts';
import { createIssuerRequester } from '../../src/sign-in/issuer-http.ts';
import { type SignInBrokerClient, SignIns } from '../../src/sign-in/sign-ins.ts';
import { type Authority, createAuthority } from '../harness.ts';

const ALICE = '00u1alice';
let ca: Authority;
let idp: { readonly url: string; readonly issuer: string; readonly admin: ProviderAdmin; close(): Promise<void> };
let admin: ProviderAdmin;

beforeAll(async () => {
  ca = await createAuthority('test');
});

const PROVIDERS = {
  'oidc-provider (JavaScript)': async () => startIdp({ listen: 'localhost:0', tls: await ca.issue('localhost') }),
  'zitadel/oidc (Go)': async () =>
    startZitadel({ listen: 'localhost:0', tls: await ca.issue('localhost'), ca: ca.root }),
};

interface World {
  readonly signIns: SignIns;
  readonly jkt: string;
  /** ID tokens sent to the broker, decoded, in order. */
  readonly shown: ReturnType<typeof decodeJwt>[];
  readonly signedOut: string[];
  accessToken: string | undefined;
  confirmSeconds: number | undefined;
  waiting: number;
}

let started: World[] = [];
afterEach(async () => {
  for (const { signIns } of started) await signIns.close();
  started = [];
});

/** Creates a broker that accepts every ID token; the real one has its own tests. */
function world(offered: Partial<{ issuer: string; refresh: boolean }> = {}): World {
  const own = { shown: [], signedOut: [], accessToken: 'mps_1', confirmSeconds: 3, waiting: 0 } as unknown as {
    -readonly [Key in keyof World]: World[Key];
  };
  const jkt = dpopThumbprint(generateDpopKey().jwk);
  const state = (): SignInState => ({
    issuer: 'okta',
    subject: 'okta:1',
    login: 'alice',
    since: 1,
    until: Math.floor(Date.now() / 1000) + 3,
    amr: [],
    ...(own.confirmSeconds !== undefined && { confirm_seconds: own.confirmSeconds }),
  });
  const broker: SignInBrokerClient = {
    offer: async (name) => ({
      name,
      issuer: idp.issuer,
      client_id: 'meshpass',
      refresh: true,
      ...offered,
      scopes: ['openid', 'offline_access', 'email', 'groups'],
    }),
    read: async () => ({ sign_ins: own.shown.length > 0 ? [state()] : [], lacking: [] }),
    signIn: async (_token, _issuer, idToken) => {
      own.shown.push(decodeJwt(idToken));
      return { sign_ins: [state()], lacking: [] };
    },
    signOut: async (_token, issuer) => {
      own.signedOut.push(issuer);
      return { sign_ins: [], lacking: [] };
    },
  };
  const signIns = new SignIns({
    broker,
    ask: createIssuerRequester(ca.root),
    jkt,
    now: Date.now,
    random: Math.random,
    log: () => {},
    accessToken: () => own.accessToken,
    onWaiting: () => {
      own.waiting++;
    },
  });
  Object.assign(own, { signIns, jkt });
  started.push(own);
  return own;
}

/** Signs a user in at the prompt's URL. */
const signIn = ({ verificationUriComplete }: SignInPrompt, person = ALICE) =>
  signInAs(verificationUriComplete!, { ca: ca.root, types: { login: person, password: 'any' } });

async function signedIn(own: World): Promise<void> {
  const prompt = await own.signIns.begin('okta');
  await signIn(prompt);
  await vi.waitFor(async () => expect(await own.signIns.result('okta', 5_000)).toBe(true), 20_000);
}

describe.each(Object.keys(PROVIDERS) as (keyof typeof PROVIDERS)[])('at %s', (name) => {
  beforeAll(async () => {
    idp = await PROVIDERS[name]();
    admin = idpAdmin(idp.url, { ca: ca.root });
  }, BUILD_MS);
  afterAll(() => idp?.close());

  it('shows a link and a code, and sends the broker the ID token', async () => {
    const own = world();
    const prompt = await own.signIns.begin('okta');
    expect(prompt.verificationUri).toBe(`${idp.issuer}/device`);
    expect(prompt.userCode).toMatch(/^[A-Z-]{9}$/);
    expect(await own.signIns.result('okta', 10)).toBe(false);
    await signIn(prompt);
    await vi.waitFor(async () => expect(await own.signIns.result('okta', 5_000)).toBe(true), 20_000);
    // A single audience is a string or a list (RFC 7519 section 4.1.3).
    expect([own.shown[0]!.aud].flat()).toEqual(['meshpass']);
    expect(own.shown[0]).toMatchObject({ sub: ALICE, email: 'alice@acme.com', groups: ['payments', 'everyone'] });
    expect(own.signIns.status).toMatchObject([{ issuer: 'okta', login: 'alice' }]);
  }, 30_000);

  it("confirms the sign-in with fresh ID tokens within the broker's time limit", async () => {
    const own = world();
    await signedIn(own);
    await vi.waitFor(() => expect(own.shown.length).toBeGreaterThanOrEqual(3), 10_000);
    const [first, second, third] = own.shown;
    expect([second!.sub, third!.sub]).toEqual([ALICE, ALICE]);
    expect(third!.iat! - first!.iat!).toBeLessThan(6);
  }, 30_000);

  it('ends the sign-in if the provider refuses to confirm it, and reports the reason', async () => {
    const own = world();
    await signedIn(own);
    await admin.disable(ALICE);
    try {
      await vi.waitFor(() => expect(own.signedOut).toEqual(['okta']), 10_000);
      expect(own.signIns.status).toEqual([]);
      expect(own.signIns.notes.join()).toContain('okta did not confirm the sign-in');
    } finally {
      await admin.enable(ALICE);
    }
  }, 30_000);

  it('continues if the provider is briefly unavailable', async () => {
    const own = world();
    await signedIn(own);
    await admin.setDown(true);
    await vi.waitFor(() => expect(own.signIns.status[0]?.failure).toContain('did not respond'), 10_000);
    await admin.setDown(false);
    const before = own.shown.length;
    await vi.waitFor(() => expect(own.shown.length).toBeGreaterThan(before), 15_000);
    expect(own.signIns.status[0]?.failure).toBeUndefined();
  }, 40_000);

  it('signs out at the broker, and revokes the refresh token', async () => {
    const own = world();
    await signedIn(own);
    await admin.forgetRequests();
    expect(await own.signIns.signOut()).toEqual(['okta']);
    expect(own.signedOut).toEqual(['okta']);
    expect(await admin.requests()).toContainEqual(expect.stringMatching(/^POST .*\/revo/));
    expect(await own.signIns.signOut()).toEqual([]);
  }, 30_000);

  it('keeps the ID token for the next session if there is none, and returns it once', async () => {
    const own = world();
    own.accessToken = undefined;
    await signedIn(own);
    expect(own.shown).toEqual([]);
    expect(own.waiting).toBe(1);
    const waiting = own.signIns.takeWaiting();
    expect(waiting?.issuer).toBe('okta');
    expect(decodeJwt(waiting!.token)).toMatchObject({ sub: ALICE });
    expect(own.signIns.takeWaiting()).toBeUndefined();
  }, 30_000);

  it('refuses the discovery document of another issuer', async () => {
    const own = world({ issuer: `${idp.issuer}/` });
    await expect(own.signIns.begin('okta')).rejects.toMatchObject({ code: 'agent_sign_in_failed' });
  });

  it('cancels a sign-in when another one at the same issuer starts', async () => {
    const own = world();
    await own.signIns.begin('okta');
    const first = own.signIns.result('okta', 20_000);
    const refused = expect(first).rejects.toMatchObject({ code: 'agent_sign_in_refused' });
    await own.signIns.begin('okta');
    await refused;
  });
});
