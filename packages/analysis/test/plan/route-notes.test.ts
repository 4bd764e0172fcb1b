/** A plan notes routes that lead out of a grant, which do not prevent its application. */
import { parseAccess } from '@meshpass/access';
import { loadManifests } from '@meshpass/istio';
import { describe, expect, it } from 'vitest';
import { planChange, refusals } from '../../src/plan/plan.ts';
import { SHAPE, TOKENS } from '../mesh-shape.ts';

const ACCESS = parseAccess(
  `trust: {codespaces: {organization: acme}}
grants:
  dev:
    who: [{user: alice}]
    to: [{service: orders.shop, port: 8080}, {service: db.shop, port: 5432}]
  all:
    who: [{user: bob}]
    to: [{service: orders.shop, port: 8080}, {service: ledger.shop, port: 80}]
`,
  'access.yaml',
);
const service = (name: string, port: string) => `---
apiVersion: v1
kind: Service
metadata: {name: ${name}, namespace: shop}
spec: {selector: {app: ${name}}, ports: [${port}]}
`;
const SERVICES =
  service('orders', '{name: http, port: 8080}') +
  service('ledger', '{name: http, port: 80}') +
  service('db', '{name: tcp, port: 5432}');
const routes = (spec: string, name = 'routes') => `---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ${name}, namespace: shop}
spec: ${spec}
`;
const planWith = (more: string) => {
  const { resources, problems } = loadManifests(SERVICES + more, 'cluster.yaml');
  expect(problems).toEqual([]);
  return planChange({ access: ACCESS, cluster: resources, shape: SHAPE, tokens: TOKENS });
};
const HOST = 'orders.shop.svc.cluster.local:8080';

describe('a route out of a grant', () => {
  it('is noted only for grants without its destination', () => {
    const plan = planWith(
      routes('{hosts: [orders], http: [{route: [{destination: {host: ledger, port: {number: 80}}}]}]}'),
    );
    expect(plan.findings).toEqual([
      {
        kind: 'note',
        grant: 'dev',
        message: `calls to ${HOST} go to ledger.shop.svc.cluster.local:80, which is outside grant dev (access.yaml:3): a Codespace on this route is refused with agent_route_not_granted`,
        example: `a call to ${HOST} on this route`,
        because: 'routed by VirtualService shop/routes (cluster.yaml:20)',
      },
    ]);
    expect(refusals(plan)).toEqual([]);
  });

  it('is not noted if its destination is granted', () => {
    const to = (destination: string) => routes(`{hosts: [orders], http: [{route: [{destination: ${destination}}]}]}`);
    const grants = (destination: string) => planWith(to(destination)).findings.map(({ grant }) => grant);
    expect(grants('{host: ledger, port: {number: 80}}')).toEqual(['dev']);
    // Without a port the called port applies, which the ledger does not have.
    expect(grants('{host: ledger}')).toEqual(['dev', 'all']);
  });

  it('describes the effect on connections and on mirrored calls', () => {
    const messages = planWith(
      routes('{hosts: [db], tcp: [{route: [{destination: {host: old-db.shop.svc.cluster.local}}]}]}', 'db') +
        routes(
          '{hosts: [orders], http: [{route: [{destination: {host: orders}}], mirror: {host: ledger.shop.svc.cluster.local, port: {number: 80}}}]}',
        ),
    ).findings.map(({ message }) => message);
    expect(messages).toEqual([
      `calls to ${HOST} are mirrored to ledger.shop.svc.cluster.local:80, which is outside grant dev (access.yaml:3): calls from a Codespace are not mirrored`,
      'connections to db.shop.svc.cluster.local:5432 go to old-db.shop.svc.cluster.local:5432, which is outside grant dev (access.yaml:3): connections from a Codespace are refused',
    ]);
  });

  it.each([
    ['is for a gateway only', '{hosts: [orders], gateways: [istio-ingress/public], http: [TO_LEDGER]}'],
    ['is not exported to the grant', '{hosts: [orders], exportTo: ["."], http: [TO_LEDGER]}'],
    ['is for callers of another namespace', '{hosts: [orders], http: [{match: [{sourceNamespace: web}], ROUTE}]}'],
    ['leads to a subset', '{hosts: [orders], http: [{route: [{destination: {host: orders, subset: v2}}]}]}'],
    [
      'follows one that matches everything',
      '{hosts: [orders], http: [{route: [{destination: {host: orders}}]}, TO_LEDGER]}',
    ],
  ])('is not noted if it %s', (_, spec) => {
    const route = 'route: [{destination: {host: ledger}}]';
    const text = spec.replaceAll('TO_LEDGER', `{${route}}`).replaceAll('ROUTE', route);
    expect(planWith(routes(text)).findings).toEqual([]);
  });

  it('makes no plan stale, because rollouts shift weights while a plan is reviewed', () => {
    const weights = (other: number) =>
      routes(
        `{hosts: [orders], http: [{route: [{destination: {host: orders}, weight: ${100 - other}}, {destination: {host: ledger, port: {number: 80}}, weight: ${other}}]}]}`,
      );
    expect(planWith(weights(10)).id).toBe(planWith(weights(50)).id);
    expect(planWith(weights(10)).findings).toHaveLength(1);
    expect(planWith(weights(0)).findings).toHaveLength(0);
  });
});
