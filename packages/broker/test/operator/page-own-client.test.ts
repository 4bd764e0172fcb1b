/** The page signs browsers in with the operators' own client, if they have one (`signIn.operatorClient`). */
import { ONE_CLIENT, OPERATOR_CLIENT } from '@meshpass/lab/oidc/idp';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { Browser } from '../harness/approval/browser.ts';
import { codeOf, type PageWorld, startPage } from '../harness/approval/page.ts';

const BOB = '00u2bob';
/** Shorter than the lease of a workspace. */
const CONFIRM_SECONDS = 30;

let world: PageWorld;
beforeAll(async () => {
  world = await startPage({ trustsNativeClients: true, ownClient: true });
});
beforeEach(() => {
  world.harness.mesh.setOperators(world.operators);
  world.harness.confirmSeconds = CONFIRM_SECONDS;
});
afterAll(() => world?.stop());

/** Advances the clock until the confirmation has expired. */
const expireConfirmation = () => world.advance((CONFIRM_SECONDS + 1) * 1_000);

/** @param change of the issuer's signIn */
function use(change: object): () => void {
  const { grants, trust } = world.harness.mesh.access();
  const issuers = trust.issuers.map((one) => ({ ...one, signIn: { ...one.signIn!, ...change } }));
  world.harness.mesh.setAccess(grants, [], { issuers });
  return () => world.harness.mesh.setAccess(grants, [], trust);
}

it("signs in and is confirmed with that client, and answers another person's request but not their own", async () => {
  const begun = await new Browser().open(`${world.origin}/page/sign-in/corp`, false);
  expect(new URL(begun.headers.get('location')!).searchParams.get('client_id')).toBe(OPERATOR_CLIENT);
  const [others, own] = [await world.ask('00u1alice'), await world.ask(BOB)];
  const browser = new Browser();
  const shown = await world.signIn(browser, BOB, `/approvals/${others.id}`);
  const done = await browser.submit(shown, { decision: 'approve', minutes: '5', reason: '' }, { form: 1 });
  expect(done.text).toMatch(/approved by .*bob/s);
  const form = await browser.open(`${world.origin}/approvals/${own.id}`);
  const refused = await browser.submit(form, { decision: 'approve', minutes: '5', reason: '' }, { form: 1 });
  expect(codeOf(refused)).toBe('approval_own');
  expireConfirmation();
  const asked = await browser.open(`${world.origin}/approvals/${others.id}`, false);
  const location = new URL(asked.headers.get('location')!);
  expect(['client_id', 'prompt'].map((name) => location.searchParams.get(name))).toEqual([OPERATOR_CLIENT, 'none']);
  expect((await browser.open(location)).status).toBe(200);
});

it('does not have the provider confirm a session that was opened with another client: that is another sign-in', async () => {
  const back = use({ operatorClient: ONE_CLIENT });
  const browser = new Browser();
  await world.signIn(browser, BOB, '/approvals');
  back();
  const callback = await world.callbackOf(browser, BOB);
  expect((await browser.open(callback)).url.pathname).toBe('/approvals');
  expireConfirmation();
  // The provider would confirm them with either client, and shows nothing.
  use({ operatorClient: ONE_CLIENT });
  const refused = await browser.open(`${world.origin}/approvals`);
  expect([refused.status, codeOf(refused)]).toEqual([401, 'operator_session_ended']);
  expect(refused.text).toContain('no longer allows operators to sign in at corp with this session&#39;s client');
  back();
  world.harness.mesh.setOperators(world.operators);
  expect(codeOf(await browser.open(`${world.origin}/approvals`))).toBe('operator_session_ended');
});
