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
  it('answers by the Service’s port, with the rule and its line', () => {
    const { allowed, answers } = canI(MESH, as('dev/web'), 'orders.shop:80', get('/orders/1'));
    expect(allowed).toBe('yes');
    expect(answers.map(({ decision }) => say(decision))).toEqual(['allowed by orders[0]']);
    expect(answers[0]!.endpoint.port).toBe(8080);
    expect(answers[0]!.decision.rule!.place()).toMatchObject({ file: 'mesh.yaml' });
    expect(canI(MESH, as('dev/web'), 'orders.shop.svc.cluster.local:80', get('/admin')).allowed).toBe('no');
    expect(canI(MESH, as('dev/web'), 'shop/orders:8080', get('/orders/1')).allowed).toBe('yes');
  });
  it('carries the token where the workload looks for it', () => {
    const claims = { iss: 'https://okta.test', sub: 'a', aud: 'shop', groups: ['sre'] };
    expect(canI(MESH, { ...as('nobody'), claims }, 'orders.shop:80', get('/')).allowed).toBe('yes');
    const other = { ...claims, aud: 'other' };
    const { answers } = canI(MESH, { ...as('nobody'), claims: other }, 'orders.shop:80', get('/'));
    expect(say(answers[0]!.decision)).toBe('refused 403 by tokens[0]');
  });
  it('says that it depends where the client chooses how a port is guarded', () => {
    const open = policy({ action: 'DENY', rules: [{ to: [{ operation: { ports: ['7002'], notPaths: ['/a'] } }] }] });
    const { allowed, answers } = canI(view(`${ORDERS}---\n${open}`), as('dev/web'), 'orders.shop:7002', get('/a'));
    expect(allowed).toBe('some');
    expect(answers.map(({ decision, chosenByClient }) => [say(decision), decision.as, chosenByClient])).toEqual([
      ['allowed: open', 'http', true],
      ['refused by p[0]', 'tcp', true],
    ]);
  });
  it('answers for a Service whose workloads are not known, by its selector', () => {
    const text = `${ORDERS.slice(ORDERS.indexOf('---'))}---\n${policy({ selector: { matchLabels: { app: 'orders' } }, rules: [] })}`;
    expect(canI(view(text), as('dev/web'), 'orders.shop:80', get('/')).allowed).toBe('no');
  });
  it.each([
    ['orders.shop:81', /no port 81, only 80, 5432, 7002/],
    ['orders.shop', /80, 5432, 7002: say which/],
    ['order.shop:80', /did you mean "orders.shop"/],
    ['shop/order:80', /did you mean "shop\/orders"/],
    ['http://orders', /write SERVICE.NAMESPACE:PORT/],
  ])('tells what is wrong with the target %s', (target, message) => {
    expect(() => canI(MESH, as('dev/web'), target, get('/'))).toThrow(message);
  });
});

describe('who-can', () => {
  it('names who reaches it, and with which token', () => {
    const found = whoCan(MESH, 'orders.shop:80', get('/orders/7')).reachers;
    const sre = 'a token of https://okta.test for anybody with groups="sre"';
    expect(found.map(({ who, token, decision }) => [who, token, say(decision)])).toEqual([
      ['dev/web', undefined, 'allowed by orders[0]'],
      ['shop/orders', sre, 'allowed by orders[1]'],
      ['a stranger in the mesh', sre, 'allowed by orders[1]'],
      ['nobody (plain text)', sre, 'allowed by orders[1]'],
    ]);
  });
  it('finds that everybody reaches what is open', () => {
    const names = whoCan(view(ORDERS), 'orders.shop:80', get('/')).reachers.map(({ who }) => who);
    expect(names).toEqual(['shop/orders', 'a stranger in the mesh', 'nobody (plain text)']);
  });
});

describe('matrix', () => {
  it('tells wholly from partly and not at all', () => {
    const { cells, endpoints } = matrixOf(MESH);
    expect(endpoints).toEqual(['orders.shop:80', 'orders.shop:5432', 'orders.shop:7002']);
    const row = (name: string) => cells.filter(({ who }) => who === name).map(({ allowed }) => allowed);
    expect(row('dev/web')).toEqual(['some', 'no', 'no']);
    expect(row('nobody (plain text)')).toEqual(['no', 'no', 'no']);
    expect(cells.find(({ who, allowed }) => who === 'dev/web' && allowed === 'some')!.example).toBe('GET /orders/x');
  });
});
