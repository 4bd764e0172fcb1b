import { describe, expect, it } from 'vitest';
import type { CallToken } from '../../src/evaluate/call.ts';
import { get, guard, policy, say, tokens } from './shop.ts';

const A = { issuer: 'https://a.test' };
const B = { issuer: 'https://b.test' };
const ALICE: CallToken = { text: 't-alice', claims: { iss: 'https://a.test', sub: 'alice', aud: ['shop'] } };
const needsAlice = policy({ rules: [{ from: [{ source: { requestPrincipals: ['https://a.test/alice'] } }] }] });

const bearer = (token: CallToken, more: object = {}) =>
  get('/a', { tokens: [token], headers: { authorization: `Bearer ${token.text}` }, ...more });
const decide = (policies: string, call = bearer(ALICE)) => say(guard(policies).decide(call));

describe('a token', () => {
  it('provides the principal of the request if it is valid', () => {
    expect(decide(tokens(A) + needsAlice)).toBe('allowed by p[0]');
  });
  it('may be missing unless a policy requires one', () => {
    expect(decide(tokens(A), get('/a'))).toBe('allowed: open');
    expect(decide(tokens(A) + needsAlice, get('/a'))).toBe('refused 403 by p');
  });
  it.each<[string, CallToken, string]>([
    ['forged', { ...ALICE, genuine: false }, '401'],
    ['of an unknown issuer', { text: 't', claims: { iss: 'https://c.test', sub: 'alice' } }, '401'],
    ['malformed', { text: 'garbage' }, '401'],
    ['expired', { text: 't', claims: { ...ALICE.claims, exp: 1_000 } }, '401'],
    ['with a subject that is not text', { text: 't', claims: { ...ALICE.claims, sub: 7 } }, '401'],
  ])('that is %s is refused', (_, token, status) => {
    expect(decide(tokens(A), bearer(token, { now: 2_000 }))).toBe(`refused ${status} by tokens[0]`);
  });
  it('without known claims is refused', () => {
    expect(decide(tokens(A), get('/a', { headers: { authorization: 'Bearer xyz' } }))).toBe('refused 401 by tokens[0]');
  });
  it('of another audience is refused with 403, even beside rules for other issuers', () => {
    const other = { ...ALICE, claims: { ...ALICE.claims, aud: 'dev' } };
    expect(decide(tokens({ ...A, audiences: ['shop'] }), bearer(other))).toBe('refused 403 by tokens[0]');
    expect(decide(tokens({ issuer: 'https://0.test' }, { ...A, audiences: ['shop'] }), bearer(other))).toBe(
      'refused 403 by tokens[1]',
    );
    const slash = { ...ALICE, claims: { ...ALICE.claims, aud: 'http://shop.test' } };
    expect(decide(tokens({ ...A, audiences: ['https://shop.test/'] }), bearer(slash))).toBe('allowed: open');
  });
  it('is read from the locations of the rule', () => {
    const rule = { ...A, fromHeaders: [{ name: 'X-Token', prefix: 'T ' }], fromParams: ['t'], fromCookies: ['c'] };
    const policies = tokens(rule) + needsAlice;
    const at = (path: string, headers: Record<string, string>) => get(path, { tokens: [ALICE], headers });
    expect(decide(policies, at('/a', { 'x-token': 'T t-alice' }))).toBe('allowed by p[0]');
    expect(decide(policies, at('/a?t=t-alice', {}))).toBe('allowed by p[0]');
    expect(decide(policies, at('/a', { cookie: 'b=1; c=t-alice' }))).toBe('allowed by p[0]');
    expect(decide(policies, at('/a', { authorization: 'Bearer t-alice' }))).toBe('refused 403 by p');
  });
  it('is refused beside an invalid one of the same rule', () => {
    const call = get('/a?access_token=bad', { tokens: [ALICE], headers: { authorization: 'Bearer t-alice' } });
    expect(decide(tokens(A), call)).toBe('refused 401 by tokens[0]');
  });
  it('is removed from a header before the next check', () => {
    // Both locations are the same header; after the token is removed, nothing invalid is left.
    const places = { ...A, fromHeaders: [{ name: 'x-token', prefix: 'T ' }, { name: 'x-token' }] };
    const call = get('/a', { tokens: [ALICE], headers: { 'x-token': 'T t-alice' } });
    expect(decide(tokens(A, places) + needsAlice, call)).toBe('allowed by p[0]');
    expect(decide(tokens(places), call)).toBe('refused 401 by tokens[0]');
  });
  it('of the first issuer in alphabetical order wins', () => {
    const bob: CallToken = { text: 't-bob', claims: { iss: 'https://b.test', sub: 'bob' } };
    const inX = { ...B, fromHeaders: [{ name: 'x-token' }] };
    const call = get('/a', { tokens: [ALICE, bob], headers: { authorization: 'Bearer t-alice', 'x-token': 't-bob' } });
    expect(decide(tokens(inX, A) + needsAlice, call)).toBe('allowed by p[0]');
  });
  it('is removed from the request unless it is forwarded', () => {
    const seen = policy({
      action: 'DENY',
      rules: [{ when: [{ key: 'request.headers[authorization]', values: ['*'] }] }],
    });
    expect(decide(tokens(A) + seen)).toBe('allowed: open');
    expect(decide(tokens({ ...A, forwardOriginalToken: true }) + seen)).toBe('refused 403 by p[0]');
  });
  it('is not required of a CORS preflight', () => {
    const headers = { authorization: 'Bearer bad', origin: 'https://o.test', 'access-control-request-method': 'GET' };
    const call = get('/a', { http: { method: 'OPTIONS', path: '/a', authority: 'orders', headers } });
    expect(decide(tokens(A), call)).toBe('allowed: open');
  });
});

describe('claims', () => {
  const demand = (key: string, ...values: string[]) => tokens(A) + policy({ rules: [{ when: [{ key, values }] }] });
  const having = (claims: object) => bearer({ text: 't', claims: { ...ALICE.claims, ...claims } });
  it.each([
    ['request.auth.claims[groups]', 'staff', { groups: ['x', 'staff'] }, true],
    ['request.auth.claims[groups]', 'staff', { groups: 'staff' }, true],
    ['request.auth.claims[groups]', 'staff', { groups: 7 }, false],
    ['request.auth.claims[org][team]', 'sh*', { org: { team: 'shop' } }, true],
    ['request.auth.claims[org]', 'shop', { org: { team: 'shop' } }, false],
    ['request.auth.claims[scope]', 'write', { scope: 'read write' }, true],
    ['request.auth.claims[level]', 'a b', { level: 'a b' }, true],
    ['request.auth.audiences', 'shop', {}, true],
    ['request.auth.presenter', 'cli', { azp: 'cli' }, true],
    ['request.auth.principal', '*/alice', {}, true],
    ['request.auth.claims[iss]', 'https://a.test', {}, true],
  ])('%s = %s of %j: %s', (key, value, claims, allowed) => {
    expect(guard(demand(key, value)).decide(having(claims)).allowed).toBe(allowed);
  });
  it('in headers come from the token, never from the client', () => {
    const out = tokens({ ...A, outputClaimToHeaders: [{ header: 'x-sub', claim: 'sub' }] });
    const isAlice = policy({ rules: [{ when: [{ key: 'request.headers[x-sub]', values: ['alice'] }] }] });
    expect(decide(out + isAlice)).toBe('allowed by p[0]');
    expect(decide(out + isAlice, get('/a', { headers: { 'x-sub': 'alice' } }))).toBe('refused 403 by p');
  });
});

describe('headers that a rule writes', () => {
  const isBob = policy({ rules: [{ when: [{ key: 'request.headers[x-sub]', values: ['bob'] }] }] });
  const first = tokens(A, { ...B, outputClaimToHeaders: [{ header: 'X-Sub', claim: 'sub' }] });
  const forged = { headers: { authorization: 'Bearer t-alice', 'x-sub': 'bob' }, tokens: [ALICE] };

  it('are removed from a request whose token another rule accepts, except by Envoy before 1.40', () => {
    const decision = guard(first + isBob).decide(get('/a', forged));
    expect(say(decision)).toBe('refused 403 by p');
    expect(decision.headersOfOlderEnvoy).toEqual(['x-sub']);
  });
  it('are removed from a preflight, which needs no token', () => {
    const headers = { origin: 'https://o.test', 'access-control-request-method': 'GET', 'x-sub': 'bob' };
    const call = get('/a', { http: { method: 'OPTIONS', path: '/a', authority: 'orders', headers } });
    const decision = guard(first + isBob).decide(call);
    expect(say(decision)).toBe('refused 403 by p');
    expect(decision.headersOfOlderEnvoy).toEqual(['x-sub']);
  });
  it('have no effect if no rule reads them', () => {
    const decision = guard(first).decide(get('/a', forged));
    expect(say(decision)).toBe('allowed: open');
    expect(decision.headersOfOlderEnvoy).toBeUndefined();
  });
  it('hide a token in the same header from every rule', () => {
    const rules = tokens({ ...A, fromHeaders: [{ name: 'x-token' }] }, { ...B, outputPayloadToHeader: 'x-token' });
    const call = get('/a', { tokens: [ALICE], headers: { 'x-token': 't-alice' } });
    const decision = guard(rules + needsAlice).decide(call);
    expect(say(decision)).toBe('refused 403 by p');
    expect(decision.headersOfOlderEnvoy).toEqual(['x-token']);
  });
});

describe('requestPrincipals are divided at the last slash', () => {
  it.each([
    ['*', 'alice', true],
    ['https://a.test/al*', 'alice', true],
    ['https://a.test/*', 'alice', true],
    ['*/alice', 'alice', true],
    ['*alice', 'alice', true],
    ['https://a*', 'alice', false],
    ['https://a.test/team/alice', 'team/alice', false],
  ])('%s and %s: %s', (value, sub, allowed) => {
    const from = policy({ rules: [{ from: [{ source: { requestPrincipals: [value] } }] }] });
    const token = { text: 't', claims: { iss: 'https://a.test', sub } };
    expect(guard(tokens(A) + from).decide(bearer(token)).allowed).toBe(allowed);
  });
});
