/** Ends during a new sign-in also remain in the store, even after another broker took over. */
import { authorize, parseAccess } from '@meshpass/access';
import { afterAll, beforeAll, beforeEach, expect, it, vi } from 'vitest';
import type { Unit } from '../../src/audit/log/unit.ts';
import { SET_SIGN_INS } from '../../src/core/session-sql.ts';
import type { BrokerParts } from '../../src/start/serve.ts';
import { type Answer, type Enrolled, type Harness, renewLease, startHarness } from '../harness/broker.ts';
import { journalVia, rowsFor } from '../harness/journal.ts';
import {
  backChannelLogout,
  claimsFor,
  enrolSignedIn,
  grantsOf,
  logoutClaims,
  newKey,
  OKTA,
  type SignInProvider,
  signIn,
  signInProvider,
  signOut,
} from '../harness/sign-in.ts';

/** Points at which a request waits until the test lets it continue. */
const gates = vi.hoisted(() => ({
  verified: async (_issuer: string): Promise<void> => {},
  written: async (_unit: Unit): Promise<void> => {},
}));
vi.mock('../../src/audit/log/journal.ts', async (original) => {
  const real = await original<typeof import('../../src/audit/log/journal.ts')>();
  const createJournal = (options: Parameters<typeof real.createJournal>[0]) =>
    journalVia(real.createJournal(options), async (unit, write) => {
      await write();
      await gates.written(unit);
    });
  return { ...real, createJournal };
});

const SIGN_IN = 'signIn: {client: meshpass-workspaces}';
const FILE = `trust:
  issuers:
    idp: {issuer: 'https://idp.example', audience: meshpass}
    okta: {issuer: '${OKTA}', audience: meshpass, ${SIGN_IN}}
    second: {issuer: 'https://second.example', audience: meshpass, ${SIGN_IN}}
grants:
  open: {who: [{issuer: idp}], to: [{service: catalog.shop, port: 80}]}
  both: {who: [{issuer: idp, signedIn: {issuer: okta}}], to: [{service: orders.shop, port: 80}]}
  other: {who: [{issuer: idp, signedIn: {issuer: second}}], to: [{service: orders.shop, port: 80}]}`;

let harness: Harness;
let okta: SignInProvider;
beforeAll(async () => {
  okta = await signInProvider();
  harness = await startHarness({
    parts: (clock, { idp, mesh }) => {
      const parts = okta.parts(idp, mesh.access, clock);
      // Both issuers are one provider here: the second one's tokens are verified as the first one's.
      const attestSignIn: BrokerParts['attestSignIn'] = async (issuer, token, { jkt, previous }) => {
        const done = await parts.attestSignIn!('okta', token, {
          jkt,
          previous: issuer === 'okta' ? previous : undefined,
        });
        await gates.verified(issuer);
        const { issuer: iss } = mesh.access().trust.issuers.find(({ name }) => name === issuer)!;
        return { ...done, signIn: { ...done.signIn, issuer, claims: { ...done.signIn.claims, iss } } };
      };
      return { authorize, ...parts, attestSignIn };
    },
  });
  const { grants, trust } = parseAccess(FILE, 'access.yaml');
  harness.mesh.setAccess([...grants], [], trust);
});
beforeEach(() => {
  gates.verified = async () => {};
  gates.written = async () => {};
});
afterAll(() => harness.stop());

/** Gate that delays callers until it is opened. */
function gate() {
  const [reached, opened] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const pass = async () => {
    reached.resolve();
    await opened.promise;
  };
  return { pass, reached: reached.promise, open: () => opened.resolve() };
}

const start = async (key: Enrolled['key'], subject: string) =>
  enrolSignedIn(
    harness,
    key,
    await okta.sign(claimsFor(harness, { key }, { sub: subject, sid: 'a' })),
    await harness.idp.prove(`codespace-${subject}`),
  );
const signedIn = async (subject: string): Promise<Enrolled> => {
  const key = newKey();
  return { ...(await start(key, subject)).json, key };
};
const atSecond = async (who: Enrolled): Promise<Answer> =>
  signIn(harness, who, await okta.sign(claimsFor(harness, who, { sub: 'elsewhere', sid: 'z' })), 'second');
const logout = async (subject: string) =>
  backChannelLogout(harness, await okta.sign(logoutClaims(harness, { sub: subject }), { typ: 'logout+jwt' }));
const afterTakeover = async (who: Enrolled) => {
  await harness.restart();
  await renewLease(harness, who);
  return grantsOf(harness, who);
};

it.each([
  ['the provider', (_: Enrolled, subject: string) => logout(subject), 204],
  ['the workspace', (who: Enrolled) => signOut(harness, who), 200],
] as const)('a sign-out while a sign-in at another issuer is verified, by %s', async (_, out, status) => {
  const subject = `ann-${status}`;
  const who = await signedIn(subject);
  expect(await grantsOf(harness, who)).toEqual(['open', 'both']);
  const verifying = gate();
  gates.verified = verifying.pass;
  const second = atSecond(who);
  await verifying.reached;
  expect((await out(who, subject)).status).toBe(status);
  verifying.open();
  expect((await second).status).toBe(200);
  expect(await grantsOf(harness, who)).toEqual(['open', 'other']);
  expect(await afterTakeover(who)).toEqual(['open', 'other']);
});

it('a sign-out at one issuer while the sign-in at another is written: the store has both', async () => {
  const who = await signedIn('bob');
  const writing = gate();
  gates.written = async (unit) => {
    if (unit.proof && rowsFor(unit, SET_SIGN_INS).length > 0) await writing.pass();
  };
  const second = atSecond(who);
  await writing.reached;
  const out = signOut(harness, who);
  await vi.waitFor(async () => expect(await grantsOf(harness, who)).toEqual(['open']), 60_000);
  writing.open();
  expect((await out).status).toBe(200);
  expect((await second).status).toBe(200);
  expect(await afterTakeover(who)).toEqual(['open', 'other']);
});

it('a logout while the session opens: a refresh token that the provider still accepts does not undo it', async () => {
  const verifying = gate();
  gates.verified = verifying.pass;
  const key = newKey();
  const opening = start(key, 'cid');
  await verifying.reached;
  expect((await logout('cid')).status).toBe(204);
  verifying.open();
  const who: Enrolled = { ...(await opening).json, key };
  await vi.waitFor(async () => expect(await grantsOf(harness, who)).toEqual(['open']), 60_000);
  const again = async (more: object) => {
    harness.clockAhead += 2_000;
    return signIn(harness, who, await okta.sign(claimsFor(harness, who, { sub: 'cid', ...more })));
  };
  expect((await again({ sid: 'a' })).json.error_code).toBe('sign_in_ended');
  expect(await afterTakeover(who)).toEqual(['open']);
  expect((await again({ sid: 'a' })).json.error_code).toBe('sign_in_ended');
  expect((await again({ sid: 'b', auth_time: harness.now() + 1 })).status).toBe(200);
});
