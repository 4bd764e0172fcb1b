import { describe, expect, it } from 'vitest';
import { parseCaller } from '../../src/evaluate/caller.ts';
import { canI } from '../../src/evaluate/can-i.ts';
import { matrixOf } from '../../src/evaluate/matrix.ts';
import { whoCan } from '../../src/evaluate/who-can.ts';
import { ORDERS, policy, say, tokens, view } from './shop.ts';

const POLICIES =
  tokens({ issuer: 'https://okta.test', audiences: ['shop'], fromHeaders: [{ name: 'x-token' }] }) +
  policy(
    {
      rules: [
        {
          from: [{ source: { principals: ['cluster.local/ns/dev/sa/web'] } }],
          to: [{ operation: { methods: ['GET'], paths: ['/orders/*'], ports: ['8080'] } }],
        },
        { when: [{ key: 'request.auth.claims[groups]', values: ['sre'] }] },
      ],
    },
    { name: 'orders' },
  );
const MESH = view(`${ORDERS}---\n${POLICIES}`);
const get = (path: string) => ({ method: 'GET', path });
const as = (text: string) => parseCaller(text, 'cluster.local');

describe('can-i', () => {
  it("answers by the Service's port, with the rule and its line", () => {
    const { allowed, answers } = canI(MESH, as('dev/web'), 'orders.shop:80', get('/orders/1'));
    expect(allowed).toBe('yes');
    expect(answers.map(({ decision }) => say(decision))).toEqual(['allowed by orders[0]']);
    expect(answers[0]!.endpoint.port).toBe(8080);
    expect(answers[0]!.decision.rule!.place()).toMatchObject({ file: 'mesh.yaml' });
    expect(canI(MESH, as('dev/web'), 'orders.shop.svc.cluster.local:80', get('/admin')).allowed).toBe('no');
    expect(canI(MESH, as('dev/web'), 'shop/orders:8080', get('/orders/1')).allowed).toBe('yes');
  });
  it('places the token where the workload reads it', () => {
    const claims = { iss: 'https://okta.test', sub: 'a', aud: 'shop', groups: ['sre'] };
    expect(canI(MESH, { ...as('nobody'), claims }, 'orders.shop:80', get('/')).allowed).toBe('yes');
    const other = { ...claims, aud: 'other' };
    const { answers } = canI(MESH, { ...as('nobody'), claims: other }, 'orders.shop:80', get('/'));
    expect(say(answers[0]!.decision)).toBe('refused 403 by tokens[0]');
  });
  it("answers `some` if the client's choice of protocol decides", () => {
    const open = policy({ action: 'DENY', rules: [{ to: [{ operation: { ports: ['7002'], notPaths: ['/a'] } }] }] });
    const { allowed, answers } = canI(view(`${ORDERS}---\n${open}`), as('dev/web'), 'orders.shop:7002', get('/a'));
    expect(allowed).toBe('some');
    expect(answers.map(({ decision, chosenByClient }) => [say(decision), decision.as, chosenByClient])).toEqual([
      ['allowed: open', 'http', true],
      ['refused by p[0]', 'tcp', true],
    ]);
  });
  it('answers for a Service without known workloads by its selector', () => {
    const text = `${ORDERS.slice(ORDERS.indexOf('---'))}---\n${policy({ selector: { matchLabels: { app: 'orders' } }, rules: [] })}`;
    expect(canI(view(text), as('dev/web'), 'orders.shop:80', get('/')).allowed).toBe('no');
  });
  it.each([
    ['orders.shop:81', /no port 81, only 80, 5432, 7002/],
    ['orders.shop', /80, 5432, 7002\. Specify one/],
    ['order.shop:80', /did you mean "orders.shop"/],
    ['shop/order:80', /did you mean "shop\/orders"/],
    ['http://orders', /expected SERVICE.NAMESPACE:PORT/],
  ])('explains the problem with the target %s', (target, message) => {
    expect(() => canI(MESH, as('dev/web'), target, get('/'))).toThrow(message);
  });
});

describe('who-can', () => {
  it('lists the identities that reach it, and their tokens', () => {
    const found = whoCan(MESH, 'orders.shop:80', get('/orders/7')).reachers;
    const sre = 'a token of https://okta.test for anybody with groups="sre"';
    expect(found.map(({ who, token, decision }) => [who, token, say(decision)])).toEqual([
      ['dev/web', undefined, 'allowed by orders[0]'],
      ['shop/orders', sre, 'allowed by orders[1]'],
      ['a stranger in the mesh', sre, 'allowed by orders[1]'],
      ['nobody (plain text)', sre, 'allowed by orders[1]'],
    ]);
  });
  it('lists all identities for an open port', () => {
    const names = whoCan(view(ORDERS), 'orders.shop:80', get('/')).reachers.map(({ who }) => who);
    expect(names).toEqual(['shop/orders', 'a stranger in the mesh', 'nobody (plain text)']);
  });
});

describe('matrix', () => {
  it('distinguishes full, partial and no access', () => {
    const { cells, endpoints } = matrixOf(MESH);
    expect(endpoints).toEqual(['orders.shop:80', 'orders.shop:5432', 'orders.shop:7002']);
    const row = (name: string) => cells.filter(({ who }) => who === name).map(({ allowed }) => allowed);
    expect(row('dev/web')).toEqual(['some', 'no', 'no']);
    expect(row('nobody (plain text)')).toEqual(['no', 'no', 'no']);
    expect(cells.find(({ who, allowed }) => who === 'dev/web' && allowed === 'some')!.example).toBe('GET /orders/x');
  });
});
