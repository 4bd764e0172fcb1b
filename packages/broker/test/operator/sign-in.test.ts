/** How operators sign in: what is believed, what is refused, and when it is over. */
import { createHmac } from 'node:crypto';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { MAX_PER_SUBJECT } from '../../src/operator/sessions.ts';
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
// Refused sign-ins count for the address, as wrong tokens do.
afterEach(() => {
  harness.clockAhead += 120_000;
});

async function lastRow(who: SignedIn) {
  const { json } = await asOperator(harness, who, { path: '/audit?last=1' });
  return json.rows[0];
}

describe('a person signs in', () => {
  it('with an ID token of the client of signIn, and every row names person, role and the entry that gave it', async () => {
    const answer = await exchange(harness, 'mona', ['operator', 'viewer']);
    expect(answer).toMatchObject({
      status: 200,
      json: { token_type: 'DPoP', expires_in: 3600, broker: 'https://broker.example' },
    });
    expect(answer.json.access_token).toMatch(/^mpo_[A-Za-z0-9_-]{43}$/);
    expect(answer.json.operator).toEqual({
      ...{ kind: 'person', issuer: 'idp', subject: 'idp:mona', login: 'mona' },
      roles: [
        { role: 'viewer', place: 'access.yaml:10:7' },
        { role: 'operator', place: 'access.yaml:12:7' },
      ],
    });
    const mona = await signIn(harness, 'mona', ['operator']);
    expect(await lastRow(mona)).toMatchObject({
      ...{ action: 'operator.sign-in', outcome: 'allowed', subject: 'idp:mona', login: 'mona', issuer: 'idp' },
      ...{ rule: 'operator access.yaml:12:7', reason: 'mona (idp:mona) signed in as operator.' },
    });
    await asOperator(harness, mona, {
      method: 'POST',
      path: '/admin/sessions/close',
      body: '{"user":"nobody","reason":"gone"}',
    });
    const row = await lastRow(mona);
    expect(row).toMatchObject({
      ...{ action: 'operator.close', subject: 'idp:mona', login: 'mona', rule: 'operator access.yaml:12:7' },
      reason: 'mona (idp:mona) asked for it: gone.',
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

  it('ten times; then the oldest session ends', async () => {
    const first = await signIn(harness, 'often', ['viewer']);
    for (let n = 0; n < MAX_PER_SUBJECT; n++) {
      harness.clockAhead += 1000;
      await signIn(harness, 'often', ['viewer']);
    }
    expect((await asOperator(harness, first, { path: '/operator/session' })).json.error_code).toBe(
      'operator_session_ended',
    );
    const admin = await signIn(harness, 'ada', ['admin']);
    const { json } = await asOperator(harness, admin, { path: '/operator/sessions' });
    expect(json.sessions.filter((one: { subject: string }) => one.subject === 'idp:often')).toHaveLength(
      MAX_PER_SUBJECT,
    );
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

  it('an ID token that somebody else signed', async () => {
    const other = await playIdp(newIdpKey());
    const token = await other.prove('mona', personClaims(harness, newKey(), ['admin']));
    expect((await exchange(harness, 'mona', [], { token })).json.error_code).toBe('proof_signature');
  });

  it('an ID token of an issuer at which nobody signs in', async () => {
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

  it('an ID token with the key of an attacker: nobody has another sign in to their session', async () => {
    const victim = newKey();
    const token = await harness.idp.prove('mona', personClaims(harness, victim, ['admin']));
    expect((await exchange(harness, 'mona', [], { key: newKey(), token })).json.error_code).toBe('proof_rejected');
  });

  it('everybody, where the access file has no operators', async () => {
    harness.mesh.setOperators(undefined);
    expect((await exchange(harness, 'mona', ['admin'])).json.error_code).toBe('operator_unauthorized');
    expect((await harness.operatorCall('/operator/sign-in')).json).toEqual({
      broker: 'https://broker.example',
      issuers: [],
    });
  });

  it('a source that keeps failing', async () => {
    const codes: string[] = [];
    for (let n = 0; n < 12; n++) codes.push((await exchange(harness, 'eve', ['everyone'])).json.error_code);
    expect(codes.slice(0, 10)).toEqual(Array(10).fill('operator_no_role'));
    expect(codes.at(-1)).toBe('too_many_attempts');
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
  it('of an issuer that gives no nonce is accepted where the access file says so, and a wrong nonce never', async () => {
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
          ...{ kind: 'service-account', subject: 'kubernetes:ci:deployer', login: 'ci/deployer' },
          roles: [{ role: 'operator', place: 'access.yaml:20:7' }],
        },
      },
    });
    expect(answer.json.expires_in).toBeLessThanOrEqual(600);
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

  it('is refused where the access file names none, and Kubernetes is not asked', async () => {
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
