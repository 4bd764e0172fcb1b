import type { ReachableService } from '@meshpass/identity/wire';
import { describe, expect, test } from 'vitest';
import { chooseTargets } from '../../src/drill/targets.ts';

const service = (name: string, port: number, more: Partial<ReachableService> = {}): ReachableService => ({
  grant: 'dev',
  host: `${name}.svc.cluster.local`,
  port,
  aliases: [`${name}.svc`, name],
  protocol: 'http',
  spiffe_ids: ['spiffe://cluster.local/ns/shop/sa/x'],
  ...more,
});
const ORDERS = service('orders.shop', 8080, { allow: ['POST /refunds', 'GET /orders/*'] });
const LEDGER = service('ledger.shop', 5432, { protocol: 'tcp' });

describe('targets of a drill', () => {
  test('is a GET that is granted, never a request that changes something', () => {
    expect(chooseTargets([ORDERS, LEDGER], {})).toMatchObject([
      { authority: 'orders.shop.svc.cluster.local:8080', path: '/orders/drill' },
      { authority: 'ledger.shop.svc.cluster.local:5432' },
    ]);
    expect(() => chooseTargets([service('refunds.shop', 80, { allow: ['POST /refunds'] })], {})).toThrow('--path');
  });

  test('is nothing that demands a claim, or is denied', () => {
    const allow = ['GET /audit/* (with department finance)', 'GET /users/{*}/orders', 'but not GET /users/1/orders'];
    expect(chooseTargets([service('users.shop', 80, { allow })], {})[0]?.path).toBe('/users/drill/orders');
    expect(() => chooseTargets([service('users.shop', 80, { allow: allow.slice(0, 1) })], {})).toThrow('--path');
  });

  test('include a named service, by any of its names', () => {
    const other = service('web.dev', 80);
    expect(chooseTargets([ORDERS, other], { service: 'web.dev:80' })).toMatchObject([{ path: '/' }]);
    expect(chooseTargets([ORDERS], { path: '/orders/7' })[0]?.path).toBe('/orders/7');
    expect(() => chooseTargets([ORDERS], { service: 'bank.shop:80' })).toThrow('has no access to bank.shop:80');
  });

  test('has a workload: nothing would answer otherwise', () => {
    const empty = { ...ORDERS, spiffe_ids: [] };
    expect(chooseTargets([empty, LEDGER], {})).toMatchObject([{ authority: 'ledger.shop.svc.cluster.local:5432' }]);
  });
});
