/**
 * Sign-in on the real mesh: a developer in a Codespace signs in at the company's IdP (oidc-provider, device flow) beside the proof. Who
 * has one of the two calls nothing; who is disabled at the IdP, or signed out there, is out.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { AdversarialClient } from '@meshpass/lab/adversarial-client/drive';
import { routeToIdp } from '@meshpass/lab/network/route-to-idp';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { codespaceProof, type DataPath, openDataPath, until } from '../mesh.ts';
import { signInBy } from '../sign-in-by.ts';

const ALICE = '00u1alice';
const BOB = '00u2bob';
/** Seconds within which a sign-in must be confirmed; the shortest that an access file may say. */
const CONFIRM = 30;
const ACCESS = `trust:
  codespaces: {organization: acme}
  issuers:
    okta:
      issuer: https://idp.test:8443
      audience: meshpass-proofs
      signIn: {client: meshpass, scopes: [groups, email], confirm: ${CONFIRM}s}
grants:
  base:
    who: [{team: acme/payments}]
    to: [{service: orders.shop, port: 8080, allow: [GET /orders/*]}]
  both:
    who: [{team: acme/payments, signedIn: {issuer: okta, when: '"payments" in claims.groups'}}]
    to: [{service: orders.shop, port: 8080, allow: [GET /whoami]}]
`;

let dataPath: DataPath;
let close: () => Promise<void>;
const directory = mkdtempSync(join(tmpdir(), 'meshpass-sign-in-'));
const measured: string[] = [];

beforeAll(async () => {
  const accessFile = join(directory, 'access.yaml');
  writeFileSync(accessFile, ACCESS);
  dataPath = await openDataPath({ accessFile });
  close = await routeToIdp(dataPath.lab);
  const env = await dataPath.environment();
  const up = await dataPath.lab.exec('workspace', ['meshpass', 'up'], { env });
  expect(up.code, up.stderr).toBe(0);
}, 180_000);
afterAll(async () => {
  console.log(['from cause to the first refused call:', ...measured].join('\n  '));
  await dataPath?.idp.enable(ALICE);
  await dataPath?.lab.exec('workspace', ['meshpass', 'down']);
  await close?.();
  await dataPath?.close();
  rmSync(directory, { recursive: true, force: true });
});

const meshpass = (...words: string[]) => dataPath.lab.exec('workspace', ['meshpass', ...words]);
const CURL = ['curl', '-sS', '-m', '5', '-o', '/dev/null', '-w', '%{http_code}'];
const call = async (path = '/whoami') =>
  (await dataPath.lab.exec('workspace', [...CURL, `http://orders.shop:8080${path}`])).stdout.trim();

const signIn = (person = ALICE) => signInBy(dataPath.lab, 'workspace', ['sign-in', '--issuer', 'okta'], { person });

const cut = async (cause: string, act: () => Promise<unknown>, within: number) => {
  const began = Date.now();
  await act();
  await until(call, (code) => code !== '200', within);
  measured.push(`${String(Date.now() - began).padStart(6)} ms  ${cause}`);
  expect(await call('/orders/1')).toBe('200');
};
const actions = async () =>
  (await dataPath.audit())
    .filter(({ action }) => action.startsWith('sign_in.'))
    .map((row) => [row.action, row.outcome]);

it('opens no session with the proof alone, and explain names the missing sign-in', async () => {
  expect(await call('/orders/1')).toBe('200');
  expect(await call()).toBe('403');
  const why = await meshpass('explain', 'http://orders.shop:8080/whoami');
  expect(why.code).toBe(1);
  expect(why.stdout).toContain('both requires a sign-in at okta: meshpass sign-in --issuer okta');
});

it("opens no session with a sign-in alone, nor with one of another person's groups", async () => {
  await signIn(BOB);
  expect((await meshpass('status')).stdout).toContain('Signed in at okta as');
  expect(await call()).toBe('403');
  expect((await meshpass('sign-out')).stdout).toBe('Signed out at okta.\n');
  const alone = dataPath.adversary();
  const token = dataPath.secret(await dataPath.idp.idToken({ subject: ALICE }));
  const form = { subject_token_type: 'urn:ietf:params:oauth:token-type:id_token', subject_token: token };
  expect(await alone.enrol(form)).toMatchObject({ status: 403, json: { error_code: 'access_none' } });
});

it('admits a person with both, and ends it by sign-out', async () => {
  await signIn();
  await until(call, (code) => code === '200');
  await cut('meshpass sign-out', () => meshpass('sign-out'), 15);
  await until(call, (code) => code === '403');
}, 120_000);

it('ends it by a back-channel logout of the IdP', async () => {
  await signIn();
  await until(call, (code) => code === '200');
  const now = Math.floor(Date.now() / 1000);
  const events = { 'http://schemas.openid.net/event/backchannel-logout': {} };
  const claims = { iat: now, jti: crypto.randomUUID(), events };
  const token = dataPath.secret(await dataPath.idp.idToken({ subject: ALICE, claims }));
  await cut('back-channel logout', () => backChannel(token), 15);
  // A sign-in within the same second cannot be distinguished from an earlier one, and is refused (sign_in_ended).
  await sleep(2_000);
}, 120_000);

function backChannel(token: string) {
  const body = new URLSearchParams({ logout_token: token }).toString();
  const headers = { 'content-type': 'application/x-www-form-urlencoded' };
  const url = `${dataPath.meshpass.brokerUrl}/sign-in/backchannel-logout/okta`;
  return dataPath.adversary().ask('POST', url, { headers, body });
}

it('ends it within the time of a confirmation if the person is disabled at the IdP', async () => {
  await signIn();
  await until(call, (code) => code === '200');
  await cut('disabled at the IdP', () => dataPath.idp.disable(ALICE), CONFIRM);
  await dataPath.idp.enable(ALICE);
}, 120_000);

it('ends it within that time if the agent lies, and does not ask the IdP again', async () => {
  const liar: AdversarialClient = dataPath.adversary();
  const space = await dataPath.codespace();
  await enrolledWithBase(liar, space);
  const beating = setInterval(() => void liar.renew().catch(() => {}), 2_000);
  try {
    const token = dataPath.secret(await dataPath.idp.idToken({ subject: ALICE }));
    const signedIn = await liar.speak('POST', '/session/sign-in', { json: { issuer: 'okta', id_token: token } });
    expect(signedIn, signedIn.text).toMatchObject({ status: 200 });
    const began = Date.now();
    expect(await liar.certificate('both')).toMatchObject({ status: 200 });
    const signIns = async () =>
      ((await liar.speak('GET', '/session/sign-in')).json as { sign_ins?: unknown[] } | undefined)?.sign_ins;
    await until(signIns, (left) => left?.length === 0, CONFIRM + 10);
    measured.push(`${String(Date.now() - began).padStart(6)} ms  never confirmed`);
    await until(
      async () => (await liar.certificate('both')).status,
      (status) => status === 403,
    );
    expect(Date.now() - began).toBeLessThan((CONFIRM + 5) * 1_000);
    expect(await liar.certificate('base')).toMatchObject({ status: 200 });
  } finally {
    clearInterval(beating);
    await liar.speak('DELETE', '/session');
  }
}, 120_000);

async function enrolledWithBase(client: AdversarialClient, space: Parameters<typeof codespaceProof>[0]) {
  const answer = await client.enrol(codespaceProof(space));
  expect(answer.status, answer.text).toBe(200);
}

it('is in the audit log, without a token', async () => {
  const seen = await actions();
  for (const one of [
    ['sign_in.add', 'allowed'],
    ['sign_in.end', 'ended'],
    ['sign_in.logout', 'allowed'],
  ])
    expect(seen).toContainEqual(one);
  await dataPath.expectNoSecretKept();
});
