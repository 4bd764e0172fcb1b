/**
 * A sign-in from the device flow to its end: the agent's own code, a complete broker, and real providers from two code
 * bases over TLS.
 */
import { readFileSync } from 'node:fs';
import { get } from 'node:https';
import { text } from 'node:stream/consumers';
import { authorize, parseAccess } from '@meshpass/access';
import { createSignInVerifier } from '@meshpass/broker/attest/attest';
import { createIssuerKeys } from '@meshpass/broker/issuers/oidc/issuer-keys';
import { createLogoutVerifier } from '@meshpass/broker/issuers/oidc/logout-token';
import { dpopThumbprint, MeshpassError } from '@meshpass/identity';
import { idpAdmin, type ProviderAdmin } from '@meshpass/lab/oidc/admin-client';
import { signInAs, signOutIn } from '@meshpass/lab/oidc/browser';
import { MESHPASS_CLIENT, startIdp } from '@meshpass/lab/oidc/idp';
import { BUILD_MS, startZitadel } from '@meshpass/lab/oidc/zitadel';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Enrolled, type Harness, renewLease, session, startHarness } from '../../../broker/test/harness/broker.ts';
import { grantsOf, signIn, signOut } from '../../../broker/test/harness/sign-in.ts';
import { createIssuerRequester } from '../../src/sign-in/issuer-http.ts';
import { type SignInBrokerClient, SignIns } from '../../src/sign-in/sign-ins.ts';
import { type Authority, createAuthority } from '../harness.ts';

const ALICE = '00u1alice';
/** Time limit in seconds for confirmations as reported to the agent; the broker's actual limit is longer. */
const HURRY = 3;

const PROVIDERS = {
  'oidc-provider (JavaScript)': async () => startIdp({ listen: 'localhost:0', tls: await ca.issue('localhost') }),
  'zitadel/oidc (Go)': async () =>
    startZitadel({ listen: 'localhost:0', tls: await ca.issue('localhost'), ca: ca.root }),
};

let ca: Authority;
let idp: { readonly url: string; readonly issuer: string; readonly admin: ProviderAdmin; close(): Promise<void> };
let admin: ProviderAdmin;
let harness: Harness;

beforeAll(async () => {
  ca = await createAuthority('test');
});

function fetchFromIdp(url: unknown): Promise<Response> {
  return new Promise((resolve, reject) => {
    const asked = get(String(url), { ca: ca.root }, (answer) =>
      text(answer).then((body) => resolve(new Response(body, { status: answer.statusCode ?? 500 })), reject),
    );
    asked.on('error', reject);
  });
}

/** Calls the broker's API like the agent's client. */
function brokerOf(who: Enrolled): SignInBrokerClient {
  const read = ({ status, json }: Awaited<ReturnType<typeof signIn>>) => {
    if (status !== 200) throw new MeshpassError(json.error_code, json.error_description);
    const states = json.sign_ins.map((state: object) => ({ ...state, confirm_seconds: HURRY }));
    return { ...json, sign_ins: states };
  };
  return {
    offer: async (name) => (await harness.call({ path: `/sign-in/${name}` })).json,
    read: async () => ({ sign_ins: [], lacking: [] }),
    signIn: async (_, issuer, token) => read(await signIn(harness, who, token, issuer)),
    signOut: async (_, issuer) => read(await signOut(harness, who, issuer)),
  };
}

describe.each(Object.keys(PROVIDERS) as (keyof typeof PROVIDERS)[])('at %s', (name) => {
  let who: Enrolled;
  let signIns: SignIns;
  const cookies = new Map<string, string>();
  const person = () => ({ ca: ca.root, cookies, types: { login: ALICE, password: 'any' } });
  const grants = async () => {
    await renewLease(harness, who);
    return await grantsOf(harness, who);
  };
  const login = async () => {
    cookies.clear();
    const prompt = await signIns.begin('okta');
    await signInAs(prompt.verificationUriComplete!, person());
    await expect.poll(() => signIns.result('okta', 5_000)).toBe(true);
    expect(await grants()).toEqual(['open', 'both']);
  };

  beforeAll(async () => {
    idp = await PROVIDERS[name]();
    admin = idpAdmin(idp.url, { ca: ca.root });
    harness = await startHarness({
      parts: (clock, { mesh }) => {
        const keys = createIssuerKeys({ fetch: fetchFromIdp as never, timeoutMs: 5_000, clock });
        const oidc = { keys, clock };
        const { access } = mesh;
        return {
          authorize,
          attestSignIn: createSignInVerifier({ access, oidc }),
          verifyLogout: createLogoutVerifier({ access, ...oidc }),
        };
      },
    });
    const { grants, trust } = parseAccess(
      `trust:
  issuers:
    idp: {issuer: 'https://idp.example', audience: meshpass}
    okta: {issuer: '${idp.issuer}', audience: proofs, signIn: {client: ${MESHPASS_CLIENT}, scopes: [groups]}}
grants:
  open: {who: [{issuer: idp}], to: [{service: catalog.shop, port: 80}]}
  both:
    who: [{issuer: idp, signedIn: {issuer: okta, claims: {groups: payments}}}]
    to: [{service: orders.shop, port: 80}]`,
      'access.yaml',
    );
    harness.mesh.setAccess([...grants], [], trust);
    const logout = `https://localhost:${harness.broker.port}/sign-in/backchannel-logout/okta`;
    await admin.setBackchannel(MESHPASS_CLIENT, logout, readFileSync(harness.caFile, 'utf8'));
    who = await session(harness, 'ann');
    signIns = new SignIns({
      broker: brokerOf(who),
      ask: createIssuerRequester(ca.root),
      jkt: dpopThumbprint(who.key.jwk),
      now: Date.now,
      random: Math.random,
      log: () => {},
      accessToken: () => who.access_token,
      onWaiting: () => {},
    });
  }, BUILD_MS);
  afterAll(async () => {
    await signIns?.close();
    await harness?.stop();
    await idp?.close();
  });

  it('grants what requires it, and is confirmed with refresh tokens', async () => {
    await login();
    const [first] = signIns.status;
    await expect.poll(() => signIns.status[0]?.until).toBeGreaterThan(first!.until);
    await expect.poll(() => signIns.status[0]?.until).toBeGreaterThan(first!.until + 1_000);
    expect(await grants()).toEqual(['open', 'both']);
  });

  it('ends when the user is disabled', async () => {
    await admin.disable(ALICE);
    await expect.poll(grants).toEqual(['open']);
    expect(signIns.notes.join()).toContain('did not confirm the sign-in');
    await admin.enable(ALICE);
  });

  it('ends immediately when the user signs out at the provider, even if the refresh token stays valid there', async () => {
    await login();
    const configuration = await fetchFromIdp(`${idp.issuer}/.well-known/openid-configuration`);
    const { end_session_endpoint: end } = (await configuration.json()) as { end_session_endpoint: string };
    await signOutIn(end, person());
    expect(await grants()).toEqual(['open']);
    await expect.poll(() => signIns.status).toEqual([]);
    expect(await grants()).toEqual(['open']);
    await login();
  });

  it('ends from the workspace, which invalidates the refresh token', async () => {
    await admin.forgetRequests();
    expect(await signIns.signOut()).toEqual(['okta']);
    expect(await grants()).toEqual(['open']);
    expect(await admin.requests()).toContainEqual(expect.stringMatching(/^POST .*\/revo/));
  });
});
