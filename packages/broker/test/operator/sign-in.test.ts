/** Sign-in of operators: the tokens that the broker accepts, those that it refuses, and when a session ends. */
import { createHmac } from 'node:crypto';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { MAX_SESSIONS_PER_SUBJECT } from '../../src/admin/operator/sessions.ts';
import { enrol, type Harness, newKey, OPERATOR_TOKEN, startHarness } from '../harness/broker.ts';
import { newIdpKey, playIdp } from '../harness/idp.ts';
import { grant } from '../harness/mesh.ts';
import {
  asOperator,
  exchange,
  OPERATOR_CLIENT,
  operatorsByGroup,
  personClaims,
  type SignedIn,
  signIn,
} from '../harness/operators.ts';

const JWT = 'urn:ietf:params:oauth:token-type:jwt';
const REVIEWED: Record<string, string> = {};

let harness: Harness;
beforeAll(async () => {
  harness = await startHarness({
    parts: () => ({
      operators: {
        keys: { keysOf: (issuer) => harness.idp.keys.keysOf(issuer) },
        reviewToken: async (token, audience) => REVIEWED[`${audience} ${token}`],
      },
    }),
  });
  harness.mesh.setAccess([grant('dev')]);
});
afterAll(() => harness?.stop());
beforeEach(() => harness.mesh.setOperators(operatorsByGroup()));
// A token that Kubernetes refuses counts for the address.
afterEach(() => {
  harness.clockAhead += 120_000;
});

async function lastRow(who: SignedIn) {
  const { json } = await asOperator(harness, who, { path: '/audit?last=1' });
  return json.rows[0];
}

describe('a person signs in', () => {
  it('with an ID token of the client of signIn, and every row names person, role and the entry that gave it', async () => {
    harness.clockStandsAt = Date.now();
    const answer = await exchange(harness, 'mona', ['operator', 'viewer']);
    harness.clockStandsAt = undefined;
    expect(answer).toMatchObject({
      status: 200,
      json: { token_type: 'DPoP', expires_in: 3600, broker: 'https://broker.example' },
    });
    expect(answer.json.access_token).toMatch(/^[\w-]+\.[\w-]+\.[\w-]+$/);
    expect(answer.json.operator).toEqual({
      kind: 'person',
      issuer: 'idp',
      subject: 'idp:mona',
      login: 'mona',
      roles: [
        { role: 'viewer', place: 'access.yaml:10:7' },
        { role: 'operator', place: 'access.yaml:12:7' },
      ],
    });
    const mona = await signIn(harness, 'mona', ['operator']);
    expect(await lastRow(mona)).toMatchObject({
      action: 'operator.sign-in',
      outcome: 'allowed',
      subject: 'idp:mona',
      login: 'mona',
      issuer: 'idp',
      rule: 'operator access.yaml:12:7',
      reason: 'mona (idp:mona) signed in as operator.',
    });
    await asOperator(harness, mona, {
      method: 'POST',
      path: '/admin/sessions/close',
      body: '{"user":"nobody","reason":"gone"}',
    });
    const row = await lastRow(mona);
    expect(row).toMatchObject({
      action: 'operator.close',
      subject: 'idp:mona',
      login: 'mona',
      rule: 'operator access.yaml:12:7',
      reason: 'mona (idp:mona) requested it: gone.',
    });
    expect(JSON.parse(row.detail)).toMatchObject({ does: 'sessions.close-user', because: 'gone' });
  });

  it('and asks who they are, and signs out', async () => {
    const mona = await signIn(harness, 'mona', ['viewer']);
    const { json } = await asOperator(harness, mona, { path: '/operator/session' });
    expect(json.operator.subject).toBe('idp:mona');
    expect(json.actions).toContain('sessions.list');
    expect(json.actions).not.toContain('sessions.close');
    expect((await asOperator(harness, mona, { method: 'DELETE', path: '/operator/session' })).status).toBe(204);
    const after = await asOperator(harness, mona, { path: '/operator/session' });
    expect(after).toMatchObject({ status: 401, json: { error_code: 'operator_session_ended' } });
  });

  it('and no token is in the store, the log or the audit log', async () => {
    const key = newKey();
    const mona = await exchange(harness, 'mona', ['security-officer'], { key });
    const who = { key, token: mona.json.access_token, subject: 'idp:mona' };
    const exported = await asOperator(harness, who, { path: '/audit/export' });
    expect(exported.status).toBe(200);
    expect(exported.text).not.toContain(who.token);
    expect(harness.log.join('')).not.toContain(who.token);
  });

  it('only with a role: otherwise the audit log has the reasons', async () => {
    const answer = await exchange(harness, 'eve', ['everyone']);
    expect(answer).toMatchObject({ status: 403, json: { error_code: 'operator_no_role' } });
    expect(answer.text).not.toContain('groups');
    const admin = await signIn(harness, 'ada', ['admin']);
    const { json } = await asOperator(harness, admin, { path: `/audit?decision=${answer.json.decision_id}` });
    expect(json.rows[0]).toMatchObject({ outcome: 'refused', code: 'operator_no_role', subject: 'idp:eve' });
    expect(json.rows[0].reason).toContain('claim groups is not admin');
  });

  it('more than ten times, and the list has the newest ten', async () => {
    const first = await signIn(harness, 'often', ['viewer']);
    for (let n = 0; n < MAX_SESSIONS_PER_SUBJECT; n++) {
      harness.clockAhead += 1000;
      await signIn(harness, 'often', ['viewer']);
    }
    const admin = await signIn(harness, 'ada', ['admin']);
    const { json } = await asOperator(harness, admin, { path: '/operator/sessions' });
    expect(json.sessions.filter((one: { subject: string }) => one.subject === 'idp:often')).toHaveLength(
      MAX_SESSIONS_PER_SUBJECT,
    );
    expect((await asOperator(harness, first, { path: '/operator/session' })).status).toBe(200);
  });
});

describe('refused is', () => {
  const unsigned = (alg: string, sign: (input: string) => string) => {
    const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const now = harness.now();
    const claims = {
      iss: 'https://idp.example',
      sub: 'mona',
      aud: OPERATOR_CLIENT,
      iat: now,
      exp: now + 300,
      groups: ['admin'],
    };
    const input = `${part({ alg })}.${part(claims)}`;
    return `${input}.${sign(input)}`;
  };

  it.each([
    ['of another client', { aud: 'meshpass' }, 'proof_audience'],
    ['of several clients', { aud: [OPERATOR_CLIENT, 'another'] }, 'proof_audience'],
    ['of another sign-in, by its nonce', { nonce: 'another' }, 'proof_rejected'],
    ['without a nonce', { nonce: undefined }, 'proof_rejected'],
  ])('an ID token %s', async (_, claims, code) => {
    expect((await exchange(harness, 'mona', ['admin'], { claims })).json.error_code).toBe(code);
  });

  it('an ID token that has expired, or is older than ten minutes', async () => {
    const now = harness.now();
    const old = { iat: now - 900, exp: now - 600 };
    expect((await exchange(harness, 'mona', ['admin'], { claims: old })).json.error_code).toBe('proof_expired');
    const kept = { iat: now - 700, exp: now + 600 };
    expect((await exchange(harness, 'mona', ['admin'], { claims: kept })).json.error_code).toBe('proof_expired');
  });

  it('an ID token without a signature, or signed with a shared secret', async () => {
    const none = unsigned('none', () => '');
    const secret = unsigned('HS256', (input) =>
      createHmac('sha256', OPERATOR_CLIENT).update(input).digest('base64url'),
    );
    for (const token of [none, secret])
      expect((await exchange(harness, 'mona', [], { token })).json.error_code).toBe('proof_algorithm');
  });

  it('an ID token that another key signed', async () => {
    const other = await playIdp(newIdpKey());
    const token = await other.prove('mona', personClaims(harness, newKey(), ['admin']));
    expect((await exchange(harness, 'mona', [], { token })).json.error_code).toBe('proof_signature');
  });

  it('an ID token of an issuer without sign-in', async () => {
    const token = await harness.idp.prove('mona', { iss: 'https://idp.example/' });
    const [issuer] = harness.mesh.access().trust.issuers;
    const { signIn: _, ...without } = issuer!;
    harness.mesh.setAccess([grant('dev')], [], { issuers: [without] });
    expect((await exchange(harness, 'mona', [], { token })).json.error_code).toBe('proof_issuer_unknown');
    harness.mesh.setAccess([grant('dev')]);
  });

  it('an ID token that was used before, also with the same key', async () => {
    const key = newKey();
    const token = await harness.idp.prove('mona', personClaims(harness, key, ['viewer']));
    expect((await exchange(harness, 'mona', [], { key, token })).status).toBe(200);
    expect((await exchange(harness, 'mona', [], { key, token })).json.error_code).toBe('proof_replayed');
  });

  it('an ID token with the key of an attacker, who cannot sign another person in to a session', async () => {
    const victim = newKey();
    const token = await harness.idp.prove('mona', personClaims(harness, victim, ['admin']));
    expect((await exchange(harness, 'mona', [], { key: newKey(), token })).json.error_code).toBe('proof_rejected');
  });

  it('every person, if the access file has no operators', async () => {
    harness.mesh.setOperators(undefined);
    expect((await exchange(harness, 'mona', ['admin'])).json.error_code).toBe('operator_unauthorized');
    expect((await harness.operatorCall('/operator/sign-in')).json).toEqual({
      broker: 'https://broker.example',
      issuers: [],
    });
  });

  it('a person without a role, as often as they try, without filling the audit log', async () => {
    const token = await harness.idp.prove('eve', personClaims(harness, newKey(), ['everyone']));
    const key = newKey();
    const own = await harness.idp.prove('eve', personClaims(harness, key, ['everyone']));
    const codes = new Set<string>();
    for (let n = 0; n < 150; n++) {
      codes.add((await exchange(harness, 'eve', [], { token })).json.error_code);
      codes.add((await exchange(harness, 'eve', [], { key, token: own })).json.error_code);
    }
    expect([...codes].toSorted()).toEqual(['operator_no_role', 'proof_rejected']);
    const mona = await signIn(harness, 'mona', ['admin']);
    const { rows } = (await asOperator(harness, mona, { path: '/audit?last=1000' })).json;
    const eves = rows.filter(({ subject }: { subject: string }) => subject === 'idp:eve');
    expect(eves.length).toBeLessThan(250);
  });

  it('the proof of a workspace, and a session of an operator at the public listener', async () => {
    const mona = await signIn(harness, 'mona', ['admin']);
    expect((await enrol(harness, 'mona', newKey(), mona.token)).status).toBe(400);
    const { status } = await harness.call({
      path: '/operator/session',
      headers: { authorization: `DPoP ${mona.token}` },
    });
    expect(status).toBe(404);
  });
});

describe('the device flow', () => {
  it('of an issuer that sends no nonce is accepted if the access file allows it, and a wrong nonce never', async () => {
    harness.mesh.setOperators(operatorsByGroup({ deviceFlow: true }));
    expect((await exchange(harness, 'mona', ['viewer'], { claims: { nonce: undefined } })).status).toBe(200);
    expect((await exchange(harness, 'mona', ['viewer'], { claims: { nonce: 'another' } })).json.error_code).toBe(
      'proof_rejected',
    );
  });
});

describe('a ServiceAccount', () => {
  const place = { file: 'access.yaml', line: 20, column: 7 };
  const accounts = [{ place, namespace: 'ci', name: 'deployer', roles: ['operator' as const] }];
  const token = (exp: number) => `e30.${Buffer.from(JSON.stringify({ exp })).toString('base64url')}.sig`;

  it('signs in with a token for the audience of the broker, and not for longer than that lives', async () => {
    harness.mesh.setOperators(operatorsByGroup({ serviceAccounts: accounts }));
    const good = token(harness.now() + 600);
    REVIEWED[`https://broker.example ${good}`] = 'system:serviceaccount:ci:deployer';
    const answer = await exchange(harness, '', [], { token: good, tokenType: JWT });
    expect(answer).toMatchObject({
      status: 200,
      json: {
        operator: {
          kind: 'service-account',
          subject: 'kubernetes:ci:deployer',
          login: 'ci/deployer',
          roles: [{ role: 'operator', place: 'access.yaml:20:7' }],
        },
      },
    });
    expect(answer.json.expires_in).toBeLessThanOrEqual(600);
  });

  it('that Kubernetes refuses has it asked a few times from an address; people sign in there as before', async () => {
    harness.mesh.setOperators(operatorsByGroup({ serviceAccounts: accounts }));
    const good = token(harness.now() + 600);
    REVIEWED[`https://broker.example ${good}`] = 'system:serviceaccount:ci:deployer';
    const asked: string[] = [];
    for (let n = 0; n < 12; n++)
      asked.push((await exchange(harness, '', [], { token: `wrong-${n}`, tokenType: JWT })).json.error_code);
    expect(asked).toEqual([...Array(10).fill('proof_rejected'), ...Array(2).fill('too_many_attempts')]);
    expect((await exchange(harness, 'ben', ['viewer'])).status).toBe(200);
    const early = await exchange(harness, '', [], { token: good, tokenType: JWT });
    expect(early).toMatchObject({ status: 429, json: { error_code: 'too_many_attempts' } });
    // Sign-ins that wait for an answer count as well.
    expect(early.json.error_description).toMatch(/rejected or are still in progress/);
    expect(Number(early.headers['retry-after'])).toBeGreaterThan(0);
    harness.clockAhead += 11_000;
    for (let n = 0; n < 20; n++)
      expect((await exchange(harness, '', [], { token: good, tokenType: JWT })).status).toBe(200);
  });

  it('is neither shown nor allowed the actions of people, whatever its roles are', async () => {
    const admins = accounts.map((one) => ({ ...one, roles: ['admin' as const] }));
    harness.mesh.setOperators(operatorsByGroup({ serviceAccounts: admins }));
    const good = token(harness.now() + 600);
    REVIEWED[`https://broker.example ${good}`] = 'system:serviceaccount:ci:deployer';
    const key = newKey();
    const { json } = await exchange(harness, '', [], { key, token: good, tokenType: JWT });
    const deployer = { key, token: json.access_token, subject: 'kubernetes:ci:deployer' };
    const { actions } = (await asOperator(harness, deployer, { path: '/operator/session' })).json;
    expect(actions).toContain('approvals.revoke');
    const forPeople = ['approvals.approve', 'approvals.deny', 'approvals.review', 'operators.confirm-sign-in'];
    expect(forPeople.filter((action) => actions.includes(action))).toEqual([]);
    const id = '0123456789abcdef01234567';
    const post = (path: string, body: object) =>
      asOperator(harness, deployer, { method: 'POST', path, body: JSON.stringify(body) });
    for (const answer of [
      await post('/admin/approvals/answer', { id, decision: 'approve' }),
      await post('/admin/approvals/answer', { id, decision: 'deny' }),
      await post('/admin/approvals/review', { id, decision: 'accept', reason: 'it was right' }),
      await post('/operator/session/confirm', { id_token: 'x' }),
    ])
      expect(answer).toMatchObject({ status: 403, json: { error_code: 'operator_forbidden' } });
  });

  it.each([
    ['for another audience', 'meshpass-broker', 'system:serviceaccount:ci:deployer', 'proof_rejected'],
    ['of a user', 'https://broker.example', 'kubernetes-admin', 'proof_rejected'],
    ['of another ServiceAccount', 'https://broker.example', 'system:serviceaccount:ci:other', 'operator_no_role'],
  ])('is refused with a token %s', async (_, audience, user, code) => {
    harness.mesh.setOperators(operatorsByGroup({ serviceAccounts: accounts }));
    const given = token(harness.now() + 601);
    for (const name of Object.keys(REVIEWED)) delete REVIEWED[name];
    REVIEWED[`${audience} ${given}`] = user;
    expect((await exchange(harness, '', [], { token: given, tokenType: JWT })).json.error_code).toBe(code);
  });

  it('is refused if the access file lists none, without a request to Kubernetes', async () => {
    const answer = await exchange(harness, '', [], { token: token(harness.now() + 602), tokenType: JWT });
    expect(answer.json.error_code).toBe('operator_unauthorized');
  });
});

it('the token that the broker was started with still works, and never prunes', async () => {
  const headers = { authorization: `Bearer ${OPERATOR_TOKEN}`, 'content-type': 'application/json' };
  expect((await harness.operatorCall({ path: '/admin/sessions', headers })).status).toBe(200);
  const body = JSON.stringify({ before: '2020-01-01T00:00:00Z', reason: 'old' });
  const answer = await harness.operatorCall({ method: 'POST', path: '/audit/prune', headers, body });
  expect(answer).toMatchObject({ status: 403, json: { error_code: 'operator_forbidden' } });
});
