import { expect, it } from 'vitest';
import { type Bounds, checkBounds, parseAccess } from '../../src/index.ts';

const SHOP: Bounds = { services: ['*.shop'], roles: ['view'] };

/** @param targets entries of `to` in line 5, from column 10 on */
const check =
  (targets: string, { more = '', bounds = SHOP } = {}) =>
  () => {
    const text = `trust: {codespaces: {organization: acme}}
grants:
  dev:
    who: [{user: ann}]
    to: [${targets}]
${more}`;
    checkBounds(parseAccess(text, 'access.yaml'), bounds);
  };

it('refuses a service and a namespace beyond them, each at its place', () => {
  const targets =
    '{service: orders.bank, ports: [80, 81]}, {namespace: bank, labels: {a: b}, port: 80}, {service: a.shop, port: 80}';
  const lines = [
    "access.yaml:5:10 access files may not grant orders.bank here: the chart's admission.services lists *.shop",
    "access.yaml:5:51 access files may not grant services in bank here: the chart's admission.services lists *.shop",
  ];
  expect(check(targets)).toThrow(expect.objectContaining({ code: 'policy_forbidden', message: lines.join('\n') }));
});

it('refuses a host beyond them', () => {
  expect(check('{host: orders.bank.svc.cluster.local, port: 80}')).toThrow(/may not grant orders\.bank here/);
  expect(check('{host: orders.shop.svc.cluster.local, port: 80}')).not.toThrow();
});

it('refuses a role that the broker may not bind, and one in a namespace beyond them', () => {
  const roles = (text: string) =>
    check('{service: orders.shop, port: 80}', { more: `    kubernetes: {roles: [${text}]}` });
  expect(roles('view@shop')).not.toThrow();
  expect(roles('view@bank')).toThrow(/may not grant roles in bank here/);
  expect(roles('deployer@shop')).toThrow(
    /may not grant the role deployer here: the chart's admission\.roles lists view$/,
  );
});

it('leaves to the broker what only the cluster knows', () => {
  expect(check('{namespace: "bank-*", labels: {a: b}, port: 80}')).not.toThrow();
  expect(check('{namespace_labels: {team: a}, labels: {a: b}, port: 80}')).not.toThrow();
});

it('compares nothing without a list', () => {
  expect(check('{service: orders.bank, port: 80}', { bounds: { services: [], roles: [] } })).not.toThrow();
});

it('compares each list without the other', () => {
  const more = '    kubernetes: {roles: [view@shop]}';
  const [inside, outside] = ['{service: orders.shop, port: 80}', '{service: orders.bank, port: 80}'];
  expect(check(inside, { more, bounds: { services: ['*.shop'], roles: [] } })).not.toThrow();
  expect(check(outside, { more, bounds: { services: ['*.shop'], roles: [] } })).toThrow(
    /may not grant orders\.bank here/,
  );
  expect(check(outside, { more, bounds: { services: [], roles: ['view'] } })).not.toThrow();
  expect(check(outside, { more, bounds: { services: [], roles: ['edit'] } })).toThrow(
    /may not grant the role view here/,
  );
});
