/** Plans judge grants by the calls that workspaces make: from the mesh gateway's address, with usual hosts and headers. */
import { parseAccess } from '@meshpass/access';
import { loadManifests } from '@meshpass/istio';
import { describe, expect, it, test } from 'vitest';
import { planChange, refusals } from '../../src/plan/plan.ts';
import { SHAPE, TOKENS } from '../mesh-shape.ts';

const ACCESS = parseAccess(
  `trust: {codespaces: {organization: acme}}
grants:
  dev:
    who: [{user: alice}]
    to: [{service: orders.shop, port: 8080}, {service: web.dev, port: 80, allow: [GET /]}]
`,
  'access.yaml',
);
const SERVICES = `
apiVersion: v1
kind: Service
metadata: {name: orders, namespace: shop}
spec: {selector: {app: orders}, ports: [{name: http, port: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: dev}
spec: {selector: {app: web}, ports: [{name: http, port: 80}]}
`;
const GATEWAY = `---
apiVersion: v1
kind: Pod
metadata: {name: gateway-1, namespace: meshpass-system, uid: x, labels: {istio: meshpass-gateway}}
spec: {containers: [{name: istio-proxy}]}
status: {phase: Running, podIP: 10.0.0.20}
`;
const deny = (rule: string, namespace = 'shop') => `---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: theirs, namespace: ${namespace}}
spec: {action: DENY, rules: [${rule}]}
`;
const denySource = (source: string) => deny(`{from: [{source: {${source}}}]}`);
const planWith = (text: string) => {
  const { resources, problems } = loadManifests(SERVICES + text, 'cluster.yaml');
  expect(problems).toEqual([]);
  const planned = planChange({ access: ACCESS, cluster: resources, shape: SHAPE, tokens: TOKENS });
  return {
    findings: planned.findings.map(({ kind, message }) => `${kind}: ${message}`),
    reach: planned.reach.map(({ service, what }) => `${what} on ${service}`).sort(),
    refused: refusals(planned).length,
  };
};
const BOTH = ['GET / on web.dev:80', 'every call on orders.shop:8080'];
const BROKEN = 'grant-does-not-work: grant dev does not work: ';

describe('policies about addresses', () => {
  it.each([
    ['denies other addresses', 'ipBlocks: [203.0.113.0/24]'],
    ['denies all but a network of the gateway', 'notRemoteIpBlocks: [10.0.0.0/8]'],
  ])('do not concern a grant if one %s', (_, source) => {
    expect(planWith(GATEWAY + denySource(source))).toEqual({ findings: [], reach: BOTH, refused: 0 });
  });

  it.each([
    ['its address', 'ipBlocks: [10.0.0.0/24]'],
    ['all but another one', 'notIpBlocks: [10.0.0.31]'],
  ])('refuse every call that the gateway forwards if one denies %s', (_, source) => {
    const { findings, reach } = planWith(GATEWAY + denySource(source));
    expect(findings).toEqual([`${BROKEN}every call is refused on orders in shop, port 8080 (orders.shop:8080)`]);
    expect(reach).toEqual(['GET / on web.dev:80']);
  });

  it('may concern any call if the Pods of the gateway were not read', () => {
    const { findings } = planWith(denySource('ipBlocks: [203.0.113.0/24]'));
    expect(findings).toEqual([expect.stringMatching(/^note: part of grant dev is refused: .*source\.ip/)]);
  });
});

test('a DENY of a trust domain alias refuses holders, whose certificates have the trust domain of the mesh', () => {
  const alias = `---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: 'trustDomainAliases: [old.example]'}
`;
  const { findings, reach } = planWith(alias + denySource('principals: [old.example/ns/meshpass-dev/sa/*]'));
  expect(findings).toEqual([`${BROKEN}every call is refused on orders in shop, port 8080 (orders.shop:8080)`]);
  expect(reach).toEqual(['GET / on web.dev:80']);
});

describe('policies about hosts and headers', () => {
  it.each([
    ['a foreign host', '{to: [{operation: {hosts: [old.example.com]}}]}', 'host old.example.com'],
    ['a header', '{when: [{key: "request.headers[x-debug]", values: ["*"]}]}', 'header x-debug any'],
  ])('are noted if they refuse %s, which an ordinary call does not have', (_, rule, what) => {
    for (const [namespace, part] of [
      ['dev', 'GET /'],
      ['shop', 'every call'],
    ] as const) {
      const { findings, reach, refused } = planWith(deny(rule, namespace));
      expect(findings).toEqual([
        expect.stringMatching(new RegExp(`^note: part of grant dev is refused: ${part} on .*${what}`)),
      ]);
      expect({ reach, refused }).toEqual({ reach: BOTH, refused: 0 });
    }
  });

  it.each([
    ['the host of the service', '{to: [{operation: {hosts: ["web.dev*"]}}]}'],
    ['calls without a header', '{when: [{key: "request.headers[x-team]", notValues: [red]}]}'],
  ])('break a grant if they refuse %s', (_, rule) => {
    const { findings, reach } = planWith(deny(rule, 'dev'));
    expect(findings).toEqual([`${BROKEN}GET / is refused on web in dev, port 80 (web.dev:80)`]);
    expect(reach).toEqual(['every call on orders.shop:8080']);
  });
});
