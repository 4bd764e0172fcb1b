import { MeshpassError } from '@meshpass/identity';
import { SessionResponse } from '@meshpass/identity/wire';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  certificates,
  dpop,
  EXCHANGE,
  FORM,
  form,
  type Harness,
  ID_TOKEN,
  newCsr,
  newKey,
  OPERATOR_TOKEN,
  startHarness,
} from '../harness/broker.ts';
import { grant } from '../harness/mesh.ts';

describe('POST /token with a proof and CSRs', () => {
  let harness: Harness;
  beforeAll(async () => {
    harness = await startHarness();
  });
  beforeEach(() => {
    harness.mesh.setAccess([grant('first'), grant('second')]);
    harness.mesh.signed.length = 0;
    harness.mesh.beforeSigning = async () => {};
  });
  afterAll(() => harness.stop());

  const der = (pem: string) => Buffer.from(pem.replace(/-----[^-]+-----/g, ''), 'base64').toString('base64url');
  const post = async (csrs: string, more: Record<string, string> = {}, key = newKey()) =>
    await harness.call({
      method: 'POST',
      path: '/token',
      headers: { ...FORM, dpop: dpop({ key, now: harness.now() }) },
      body: form({
        grant_type: EXCHANGE,
        subject_token: await harness.idp.prove('alice'),
        subject_token_type: ID_TOKEN,
        csrs,
        ...more,
      }),
    });
  const rowsOf = async (sessionId: string) => {
    const { json } = await harness.operatorCall({
      path: `/audit?session=${sessionId}&limit=100`,
      headers: { authorization: `Bearer ${OPERATOR_TOKEN}` },
    });
    return json.rows as readonly Record<'action' | 'outcome' | 'code', string>[];
  };

  it('issues certificates for the first grants in order, and the identity token, each with its row in the audit log', async () => {
    const csrs = [newCsr(), newCsr(), newCsr()];
    const answer = await post(csrs.map(der).join('.'));
    expect(answer.status).toBe(200);
    const opened = SessionResponse.parse(answer.json);
    expect(opened.certificates?.map((one) => one.grant)).toEqual(['first', 'second']);
    expect(opened.identity_token?.access_token).toMatch(/^eyJ/);
    const pemOf = (csr: string) => csr.replaceAll(/[\r\n]/g, '');
    expect(harness.mesh.signed.map(({ csr }) => pemOf(csr.pem))).toEqual(csrs.slice(0, 2).map(pemOf));
    expect(harness.mesh.signed.map(({ queue }) => queue)).toEqual(['arrival', 'arrival']);
    const rows = await rowsOf(opened.session.id);
    expect(rows.map(({ action, outcome }) => `${action} ${outcome}`).sort()).toEqual([
      'certificate.issue allowed',
      'session.open allowed',
      'token.issue allowed',
    ]);
  });

  it('leaves the grants without a CSR for later', async () => {
    const opened = SessionResponse.parse((await post(der(newCsr()))).json);
    expect(opened.session.grants).toEqual(['first', 'second']);
    expect(opened.certificates?.map((one) => one.grant)).toEqual(['first']);
  });

  it('opens the session without certificates if a CSR is bad, and records why', async () => {
    const foreign = Buffer.from(der(newCsr()), 'base64url');
    foreign[foreign.length - 1]! ^= 1;
    const opened = SessionResponse.parse((await post(foreign.toString('base64url'))).json);
    expect(opened.certificates).toBeUndefined();
    expect(opened.identity_token).toBeDefined();
    expect(harness.mesh.signed).toEqual([]);
    const rows = await rowsOf(opened.session.id);
    const refused = rows.find(({ action }) => action === 'certificate.issue');
    expect(refused).toMatchObject({ outcome: 'refused', code: expect.stringMatching(/^csr_/) });
  });

  it('does not keep the agent waiting for a CA that does not answer', async () => {
    harness.mesh.beforeSigning = ({ signal }) =>
      new Promise((_resolve, reject) => {
        const gone = () => reject(new MeshpassError('ca_unavailable', 'The CA did not answer in time.'));
        signal?.addEventListener('abort', gone, { once: true });
      });
    const opened = SessionResponse.parse((await post(der(newCsr()))).json);
    expect(opened.certificates).toBeUndefined();
    const rows = await rowsOf(opened.session.id);
    expect(rows.find(({ action }) => action === 'certificate.issue')).toMatchObject({ code: 'ca_unavailable' });
  });

  it('queues an agent that retries after that with the arrivals, behind renewals', async () => {
    harness.mesh.beforeSigning = async () => {
      throw new MeshpassError('ca_unavailable', 'The CA did not answer in time.');
    };
    const key = newKey();
    const opened = SessionResponse.parse((await post(der(newCsr()), {}, key)).json);
    harness.mesh.beforeSigning = async () => {};
    for (let n = 0; n < 2; n++)
      expect(await certificates(harness, { ...opened, key }, ['first'])).toMatchObject({ status: 200 });
    expect(harness.mesh.signed.map(({ queue }) => queue)).toEqual(['arrival', 'renewal']);
  });

  it('signs nothing for a proof that is refused', async () => {
    harness.mesh.setAccess([grant('first', ['idp:somebody-else'])]);
    const answer = await post(der(newCsr()));
    expect(answer.json.error_code).toBe('access_none');
    expect(harness.mesh.signed).toEqual([]);
  });

  it.each([
    ['too many', Array(9).fill('AAAA').join('.')],
    ['an empty one', 'AAAA..AAAA'],
    ['one that is too long', 'A'.repeat(1_025)],
    ['another alphabet', 'AA+/'],
  ])('refuses %s', async (_name, csrs) => {
    const answer = await post(csrs);
    expect([answer.status, answer.json.error_code]).toEqual([400, 'request_malformed']);
  });
});
