/** The broker checks the sender once the whole body has arrived: a request with a delayed body does not outlive its session. */
import { once } from 'node:events';
import { type ClientRequest, type IncomingMessage, request } from 'node:http';
import { request as tlsRequest } from 'node:https';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  dpop,
  type Enrolled,
  EXCHANGE,
  FORM,
  form,
  type Harness,
  newCsr,
  OPERATOR_TOKEN,
  session,
  startHarness,
} from '../harness/broker.ts';
import { grant } from '../harness/mesh.ts';
import { asOperator, operatorsByGroup, type SignedIn, signIn } from '../harness/operators.ts';

const JSON_BODY = { 'content-type': 'application/json' };
const BREAK_GLASS = { ...JSON_BODY, authorization: `Bearer ${OPERATOR_TOKEN}` };

let harness: Harness;
beforeEach(async () => {
  harness = await startHarness();
  harness.mesh.setAccess([grant('dev')]);
  harness.mesh.setOperators(operatorsByGroup());
});
afterEach(() => harness?.stop());

/** Sends the body after the callback, which runs while the broker waits for the body (RFC 9110 section 10.1.1). */
async function sendHeld(made: ClientRequest, body: string, meanwhile: () => unknown) {
  made.flushHeaders();
  await once(made, 'continue');
  // The broker answers 100 before it has checked the headers.
  await new Promise((resolve) => setTimeout(resolve, 100));
  await meanwhile();
  made.end(body);
  const [response] = (await once(made, 'response')) as [IncomingMessage];
  return { status: response.statusCode, body: await text(response) };
}

const expecting = (body: string) => ({ expect: '100-continue', 'content-length': Buffer.byteLength(body) });

async function heldOperator(who: SignedIn, path: string, order: object, meanwhile: () => unknown) {
  const body = JSON.stringify(order);
  const proof = dpop({ key: who.key, path, now: harness.now(), accessToken: who.token });
  const headers = { ...JSON_BODY, ...expecting(body), authorization: `DPoP ${who.token}`, dpop: proof };
  const made = request({ port: harness.broker.operatorPort, host: '127.0.0.1', method: 'POST', path, headers });
  return await sendHeld(made, body, meanwhile);
}

async function heldWorkspace(
  who: Enrolled,
  path: string,
  { body, type }: { readonly body: string; readonly type: Readonly<Record<string, string>> },
  meanwhile: () => unknown,
) {
  const proof = dpop({ key: who.key, path, now: harness.now(), accessToken: who.access_token });
  const headers = { ...type, ...expecting(body), authorization: `DPoP ${who.access_token}`, dpop: proof };
  const at = { port: harness.broker.port, host: '127.0.0.1', rejectUnauthorized: false };
  return await sendHeld(tlsRequest({ ...at, method: 'POST', path, headers }), body, meanwhile);
}

async function breakGlass(path: string, order: object): Promise<void> {
  const asked = { method: 'POST', path, headers: BREAK_GLASS, body: JSON.stringify(order) };
  expect(await harness.operatorCall(asked)).toMatchObject({ status: 200 });
}

describe('an operator whose body arrives after', () => {
  const CLOSE = '/operator/sessions/close';

  it.each([
    [
      'another operator has closed the session',
      'operator_session_ended',
      (bad: SignedIn) => breakGlass(CLOSE, { subject: bad.subject, reason: 'left' }),
    ],
    [
      'the access file has taken the role',
      'operator_session_ended',
      () => harness.mesh.setOperators({ ...operatorsByGroup(), roles: { ...operatorsByGroup().roles, admin: [] } }),
    ],
    [
      'the issuer would have had to confirm the person',
      'operator_unconfirmed',
      () => {
        harness.confirmSeconds = 0;
      },
    ],
  ])('%s is refused, and nothing happens', async (_, code, meanwhile) => {
    const bad = await signIn(harness, 'bad', ['admin']);
    const victim = await signIn(harness, 'victim', ['viewer']);
    const order = { subject: victim.subject, reason: 'revenge' };
    const answer = await heldOperator(bad, CLOSE, order, () => meanwhile(bad));
    expect(answer).toMatchObject({ status: 401, body: expect.stringContaining(code) });
    harness.mesh.setOperators(operatorsByGroup());
    harness.confirmSeconds = 300;
    expect((await asOperator(harness, victim, { path: '/operator/session' })).status).toBe(200);
  });

  it('the issuer should have confirmed the person is refused before the body arrives', async () => {
    const late = await signIn(harness, 'late', ['admin']);
    harness.confirmSeconds = 0;
    const proof = dpop({ key: late.key, path: CLOSE, now: harness.now(), accessToken: late.token });
    const headers = { ...JSON_BODY, 'content-length': 100, authorization: `DPoP ${late.token}`, dpop: proof };
    const to = { port: harness.broker.operatorPort, host: '127.0.0.1', method: 'POST', path: CLOSE, headers };
    const made = request(to).on('error', () => {});
    made.flushHeaders();
    const [response] = (await once(made, 'response')) as [IncomingMessage];
    expect([response.statusCode, await text(response)]).toEqual([401, expect.stringContaining('operator_unconfirmed')]);
    made.destroy();
    harness.confirmSeconds = 300;
  });

  it('nothing has changed is accepted', async () => {
    const admin = await signIn(harness, 'admin', ['admin']);
    const other = await signIn(harness, 'other', ['viewer']);
    const answer = await heldOperator(admin, CLOSE, { subject: other.subject, reason: 'left' }, () => undefined);
    expect(answer.status).toBe(200);
    expect((await asOperator(harness, other, { path: '/operator/session' })).status).toBe(401);
  });
});

describe('a workspace whose body arrives after its session was closed', () => {
  it.each([
    [
      'no certificate',
      '/certificates',
      () => ({ body: JSON.stringify({ certificates: [{ grant: 'dev', csr: newCsr() }] }), type: JSON_BODY }),
    ],
    [
      'no request for approval',
      '/approvals',
      () => ({ body: JSON.stringify({ grant: 'dev', reason: 'please' }), type: JSON_BODY }),
    ],
    ['no place for its report', '/session/refusals', () => ({ body: '{}', type: JSON_BODY })],
    [
      'no identity token',
      '/token',
      () => {
        const asked = { grant_type: EXCHANGE, subject_token_type: 'urn:meshpass:token-type:session' };
        return { body: form({ ...asked, subject_token: 'x' }), type: FORM };
      },
    ],
  ])('gets %s', async (_, path, made) => {
    const ann = await session(harness, 'ann');
    const close = () => breakGlass('/admin/sessions/close', { id: ann.session.id });
    const answer = await heldWorkspace(ann, path, made(), close);
    expect(answer).toMatchObject({ status: 401, body: expect.stringContaining('session_closed') });
  });
});
