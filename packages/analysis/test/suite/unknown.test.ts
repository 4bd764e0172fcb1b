/** A test with an unknown result fails and reports it, whatever it expects, in the outcome and in JUnit. */

import { parseAccess } from '@meshpass/access';
import { loadManifests } from '@meshpass/istio';
import { describe, expect, it } from 'vitest';
import { AMBIENT, SERVICE, UNDERSTOOD, UNKNOWN } from '../../../istio/test/unknown-meshes.ts';
import { formatJunit } from '../../src/suite/junit.ts';
import { readSuite } from '../../src/suite/read-suite.ts';
import { runSuites } from '../../src/suite/run-suite.ts';
import { SHAPE, TOKENS } from '../mesh-shape.ts';

const ACCESS = parseAccess(
  `trust:\n  codespaces: {organization: acme}\ngrants:\n  dev:\n    who: [{user: bob}]\n    to: [{service: orders.shop, port: 8080, allow: [GET /orders/*]}]\n`,
  'access.yaml',
);
const CASES = `cases:
  - {who: {grant: dev}, call: GET orders.shop:8080/orders/1, expect: allowed}
  - {who: {grant: dev}, call: GET orders.shop:8080/admin, expect: refused}
  - {who: {workload: dev/web}, call: GET orders.shop:8080/x, expect: allowed}
properties:
  - {who: workspaces, call: '* orders.shop/admin*', expect: refused}
  - {who: {grant: dev}, call: 'DELETE orders.shop/*', expect: refused}
`;
const suite = (mesh: string, cases = CASES) =>
  runSuites({
    suites: [readSuite(cases, 'cases.yaml')],
    access: ACCESS,
    shape: SHAPE,
    tokens: TOKENS,
    cluster: loadManifests(SERVICE + mesh, 'mesh.yaml').resources,
  });

it.each(UNKNOWN)('%s: every case and property of it fails', (_, mesh, reason) => {
  const result = suite(mesh);
  for (const { passed, said } of result.outcomes) {
    expect(passed).toBe(false);
    expect(said).toMatch(/it is unknown: /);
    expect(said).toMatch(reason);
  }
  expect(formatJunit(result)).toContain('failures="5"');
  expect(formatJunit(result)).toContain('it is unknown: ');
});

it.each(AMBIENT)('%s: a workload is decided by the ztunnel, and a grant is not', (_, mesh) => {
  expect(suite(mesh).outcomes.map(({ passed }) => passed)).toEqual([false, false, true, false, false]);
});

describe('a waypoint', () => {
  const mesh = (web: string) => `---
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {istio.io/dataplane-mode: ambient, istio.io/use-waypoint: gate}}
---
apiVersion: v1
kind: Namespace
metadata: {name: dev, labels: {${web}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gate, namespace: shop}
spec: {gatewayClassName: istio-waypoint}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: admin, namespace: shop}
spec: {targetRefs: [{kind: Service, group: "", name: orders}], action: DENY, rules: [{to: [{operation: {paths: [/admin]}}]}]}
`;
  const said = (labels: string, who: string) =>
    suite(mesh(labels), `cases:\n  - {who: ${who}, call: GET orders.shop:8080/admin, expect: refused}\n`).outcomes[0]!
      .said;

  it('decides cases of workloads by the way that they take', () => {
    expect(said('istio.io/dataplane-mode: ambient', '{workload: dev/web}')).toMatch(
      /^refused: at waypoint shop\/gate: this rule denies it: DENY shop\/admin rule 0/,
    );
    expect(said('istio-injection: enabled', '{workload: dev/web}')).toMatch(
      /but it is allowed: at ztunnel: no ALLOW policy applies/,
    );
    expect(said('', '{workload: dev/web}')).toMatch(
      /it is unknown: it is not known whether the caller is in ambient mode/,
    );
    expect(said('', '{grant: dev}')).toMatch(/it is unknown: it is in ambient mode, which grants do not support/);
  });

  it('decides no property', () => {
    const [one] = suite(
      mesh('istio.io/dataplane-mode: ambient'),
      "properties:\n  - {who: everybody, call: '* orders.shop/admin', expect: refused}\n",
    ).outcomes;
    expect(one!.said).toMatch(/it is unknown: it is in ambient mode, where cases are decided and properties are not/);
  });
});

it.each(UNDERSTOOD)('%s: every case is decided', (_, mesh) => {
  expect(suite(mesh).outcomes.map(({ passed, said }) => [passed, said.includes('unknown')])).toEqual(
    Array.from({ length: 5 }, () => [true, false]),
  );
});

describe('results that remain known', () => {
  const other = `---\napiVersion: v1\nkind: Namespace\nmetadata: {name: other, labels: {istio.io/dataplane-mode: ambient}}\n---\napiVersion: v1\nkind: Service\nmetadata: {name: x, namespace: other}\nspec: {selector: {app: x}, ports: [{name: http, port: 80}]}\n`;
  const shown = (cases: string) => suite(other, cases).outcomes;

  it('a workspace is refused if the mesh gateway does not forward its call', () => {
    expect(
      shown(
        `cases:\n  - {who: {grant: dev}, call: GET x.other:80/, expect: refused}\nproperties:\n  - {who: workspaces, call: 'GET x.other/*', expect: refused}\n`,
      ).map(({ passed }) => passed),
    ).toEqual([true, true]);
  });

  it('a caller without grants is refused everywhere', () => {
    expect(shown(`cases:\n  - {who: {login: eve}, call: GET x.other:80/, expect: refused}\n`)[0]!.passed).toBe(true);
  });
});

it('leaves decisions to an authorizer', () => {
  const custom = `---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: ext, namespace: shop}\nspec: {action: CUSTOM, provider: {name: opa}, rules: [{}]}\n`;
  for (const expected of ['allowed', 'refused']) {
    const [outcome] = suite(
      custom,
      `cases:\n  - {who: {workload: dev/web}, call: GET orders.shop:8080/x, expect: ${expected}}\n`,
    ).outcomes;
    expect(outcome).toMatchObject({
      passed: false,
      said: expect.stringContaining('it is unknown: a CUSTOM policy delegates to the authorizer opa'),
    });
  }
});

describe('a person with two grants', () => {
  const grant = (name: string) => `  ${name}:\n    who: [{user: bob}]\n    to: [{service: orders.shop, port: 8080}]\n`;
  const passed = (mesh: string) =>
    runSuites({
      suites: [
        readSuite(
          'cases: [{who: {login: bob}, call: GET orders.shop:8080/x, expect: refused, by: shop/deny}]',
          'cases.yaml',
        ),
      ],
      access: parseAccess(
        `trust:\n  codespaces: {organization: acme}\ngrants:\n${grant('dev')}${grant('ops')}`,
        'access.yaml',
      ),
      shape: SHAPE,
      tokens: TOKENS,
      cluster: loadManifests(SERVICE + mesh, 'mesh.yaml').resources,
    }).outcomes[0]!.passed;
  const deny = (namespaces: string) => `---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: deny, namespace: shop}
spec: {action: DENY, rules: [{from: [{source: {namespaces: [${namespaces}]}}]}]}
`;

  it('is only refused by a policy if it refuses both', () => {
    expect(passed(deny('meshpass-dev'))).toBe(false);
    expect(passed(deny('meshpass-ops'))).toBe(false);
    expect(passed(deny('meshpass-dev, meshpass-ops'))).toBe(true);
  });
});
