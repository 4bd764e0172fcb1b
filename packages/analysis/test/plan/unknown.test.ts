/** A plan proves nothing for ports without a standard sidecar, and is refused until an operator accepts that. */

import { parseAccess } from '@meshpass/access';
import { loadManifests } from '@meshpass/istio';
import { describe, expect, it } from 'vitest';
import { AMBIENT, POLICY, SERVICE, UNDERSTOOD, UNKNOWN } from '../../../istio/test/unknown-meshes.ts';
import { formatPlan } from '../../src/plan/format.ts';
import { isUnknown, planChange, refusals, refuseUnsafe } from '../../src/plan/plan.ts';
import { stateOf } from '../../src/plan/state.ts';
import { SHAPE, TOKENS } from '../mesh-shape.ts';

const ACCESS = parseAccess(
  `trust:\n  codespaces: {organization: acme}\ngrants:\n  dev:\n    who: [{user: bob}]\n    to: [{service: orders.shop, port: 8080, allow: [GET /orders/*]}]\n`,
  'access.yaml',
);
const read = (text: string) => loadManifests(text, 'cluster.yaml').resources;
const plan = (mesh: string, access = ACCESS) =>
  planChange({ access, cluster: read(SERVICE + POLICY + mesh), shape: SHAPE, tokens: TOKENS });

describe.each(UNKNOWN)('%s', (_, mesh, reason) => {
  const planned = plan(mesh);

  it('is refused, with the reason and the line of the grant, and claims no reach', () => {
    const found = planned.findings.filter(({ kind }) => kind === 'not-known');
    expect(found[0]).toMatchObject({
      grant: 'dev',
      message: expect.stringContaining('grant dev works on orders.shop:8080'),
    });
    expect(found[0]!.because).toMatch(reason);
    expect(found[0]!.because).toContain('granted at access.yaml:6');
    expect(() => refuseUnsafe(planned)).toThrow(/it is not known whether grant dev works/);
  });

  it('may be applied if an operator accepts it', () => {
    expect(refusals(planned, { acceptUnknown: true })).toEqual([]);
    expect(isUnknown(planned)).toBe(true);
    refuseUnsafe(planned, { acceptUnknown: true });
  });
});

it.each(AMBIENT)('%s: a grant is refused, and no operator can accept it', (_, mesh) => {
  const planned = plan(mesh);
  expect(planned.findings.filter(({ kind }) => kind !== 'note')).toMatchObject([
    {
      kind: 'grant-does-not-work',
      message: 'grant dev does not work on orders.shop:8080',
      because: expect.stringMatching(/ambient mode, which grants do not support yet: .*; granted at access\.yaml:6/),
    },
  ]);
  expect(refusals(planned, { acceptUnknown: true })).toHaveLength(1);
});

it.each(UNDERSTOOD)('%s is proven', (_, mesh) => {
  const { findings, reach } = plan(mesh);
  expect(findings.filter(({ kind }) => kind !== 'note')).toEqual([]);
  expect(reach.map(({ service }) => service)).toEqual(['orders.shop:8080']);
});

const AMBIENT_OTHER = `---
apiVersion: v1
kind: Namespace
metadata: {name: other, labels: {istio.io/dataplane-mode: ambient}}
---
apiVersion: v1
kind: Service
metadata: {name: x, namespace: other}
spec: {selector: {app: x}, ports: [{name: http, port: 80}]}
`;

it('is only noted for a workload outside all grants, and does not prevent the change', () => {
  const planned = plan(AMBIENT_OTHER);
  expect(planned.findings).toMatchObject([{ kind: 'note', because: expect.stringMatching(/it is in ambient mode/) }]);
  expect(refusals(planned)).toEqual([]);
  expect(formatPlan(planned, 'text')).toContain('all other traffic is unchanged, except for the ports in the notes.');
});

it('does not accept a proven violation', () => {
  const deny =
    '---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: deny, namespace: shop}\nspec: {action: DENY, rules: [{}]}\n';
  const other = `---\napiVersion: v1\nkind: Service\nmetadata: {name: y, namespace: other}\nspec: {selector: {app: y}, ports: [{name: http, port: 80}]}\n`;
  const access = parseAccess(
    `trust:\n  codespaces: {organization: acme}\ngrants:\n  dev:\n    who: [{user: bob}]\n    to: [{service: orders.shop, port: 8080, allow: [GET /orders/*]}, {service: x.other, port: 80}]\n`,
    'access.yaml',
  );
  const planned = plan(deny + AMBIENT_OTHER + other, access);
  expect(isUnknown(planned)).toBe(false);
  expect(refusals(planned, { acceptUnknown: true }).map(({ kind }) => kind)).toContain('grant-does-not-work');
});

it('reports unknown results and assumptions in text and in the comment on a pull request', () => {
  const planned = plan(UNKNOWN[0]![1]);
  for (const form of ['text', 'markdown'] as const) {
    expect(formatPlan(planned, form)).toContain('This change is refused: it is unknown whether every grant works.');
    expect(formatPlan(planned, form)).toContain('bypass the ztunnel');
  }
  expect(plan('').assumed).toEqual(['istio-system', 'meshpass-system', 'shop']);
  expect(formatPlan(plan(''), 'text')).toMatch(/^Pods of .*shop are assumed to have a sidecar/m);
  expect(formatPlan(plan(''), 'markdown')).toMatch(/^Pods of .*shop are assumed to have a sidecar/m);
});

it('notes that a grant works only if an authorizer agrees', () => {
  const custom =
    '---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: ext, namespace: shop}\nspec: {action: CUSTOM, provider: {name: opa}, rules: [{}]}\n';
  const { findings } = plan(custom);
  expect(findings.filter(({ kind }) => kind === 'note').map(({ message }) => message)).toEqual([
    expect.stringMatching(/^grant dev works only if the external authorizer opa agrees: GET \/orders\/\*/),
  ]);
});

it("is stale if a Pod loses its sidecar, but not if the injector's version changes", () => {
  const pod = (containers: string, status: string) =>
    read(
      `apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: shop, uid: x, labels: {app: orders}, annotations: {sidecar.istio.io/status: "${status}"}}\nspec: {containers: [${containers}]}\n`,
    );
  expect(stateOf(pod('{name: app}, {name: istio-proxy}', 'v1'))).not.toBe(stateOf(pod('{name: app}', 'v1')));
  expect(stateOf(pod('{name: app}, {name: istio-proxy}', 'v1'))).toBe(
    stateOf(pod('{name: app}, {name: istio-proxy}', 'v2')),
  );
});
