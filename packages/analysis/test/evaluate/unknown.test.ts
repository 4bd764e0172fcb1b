/** can-i, who-can and matrix report an unknown result without a standard sidecar, whatever the policies say. */

import { loadManifests, viewMesh } from '@meshpass/istio';
import { describe, expect, it } from 'vitest';
import { AMBIENT, POLICY, SERVICE, UNDERSTOOD, UNKNOWN } from '../../../istio/test/unknown-meshes.ts';
import { parseCaller } from '../../src/evaluate/caller.ts';
import { canI } from '../../src/evaluate/can-i.ts';
import { matrixOf } from '../../src/evaluate/matrix.ts';
import { assumedNamespaces, findEndpoints } from '../../src/evaluate/target.ts';
import { whoCan } from '../../src/evaluate/who-can.ts';

const read = (text: string) => {
  const { resources, problems } = loadManifests(text, 'mesh.yaml');
  expect(problems).toEqual([]);
  return viewMesh(resources);
};
const GET = { method: 'GET', path: '/' };
const ask = (text: string, who = 'dev/web', target = 'orders.shop:8080') =>
  canI(read(text), parseCaller(who, 'cluster.local'), target, GET);

describe.each(UNKNOWN)('%s', (_, mesh, reason) => {
  const text = SERVICE + POLICY + mesh;

  it('can-i answers unknown, with the reason, whether policies allow or deny the caller', () => {
    for (const who of ['dev/web', 'nobody']) {
      const { allowed, answers } = ask(text, who);
      expect(allowed).toBe('unknown');
      expect(answers.find(({ verdict }) => verdict === 'unknown')!.unknown).toMatch(reason);
    }
  });

  it('who-can lists no identity, and explains why', () => {
    const { reachers, unknown } = whoCan(read(text), 'orders.shop:8080', GET);
    expect(reachers.filter(({ endpoint }) => endpoint.unknown !== undefined)).toEqual([]);
    expect(unknown[0]!.why).toMatch(reason);
  });

  it('matrix contains neither yes nor no for it', () => {
    const cells = matrixOf(read(text)).cells.filter(({ endpoint }) => endpoint.unknown !== undefined);
    expect(cells.length).toBeGreaterThan(0);
    for (const { allowed, unknown } of cells) {
      expect(allowed).toBe('unknown');
      expect(unknown).toMatch(reason);
    }
  });
});

it.each([...UNDERSTOOD, ...AMBIENT])('%s is understood', (_, mesh) => {
  expect(ask(SERVICE + POLICY + mesh).allowed).toBe('yes');
  expect(ask(SERVICE + POLICY + mesh, 'nobody').allowed).toBe('no');
});

describe('the workload behind a Service', () => {
  const other = (spec: string) =>
    `---\napiVersion: v1\nkind: Service\nmetadata: {name: db, namespace: shop}\nspec: {${spec}}\n`;
  it.each([
    ['without a selector', 'ports: [{port: 5432}]', /selects no Pods/],
    [
      'with an external name',
      'type: ExternalName, externalName: db.test, selector: {app: orders}, ports: [{port: 5432}]',
      /selects no Pods/,
    ],
    [
      'with a port name that the Pods lack',
      'selector: {app: orders}, ports: [{port: 5432, targetPort: pg}]',
      /no port with the name/,
    ],
  ])('%s is unknown', (_, spec, reason) => {
    const { allowed, answers } = ask(
      `${SERVICE}${other(spec)}---\napiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: shop, labels: {app: orders}}\nspec: {containers: []}\n`,
      'dev/web',
      'db.shop:5432',
    );
    expect(allowed).toBe('unknown');
    expect(answers[0]!.unknown).toMatch(reason);
  });
});

describe('a CUSTOM policy', () => {
  const custom = `---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ext, namespace: shop}
spec: {action: CUSTOM, provider: {name: opa}, rules: [{to: [{operation: {paths: [/asked]}}]}]}
`;
  const config = (providers: string) => `---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: 'extensionProviders: [${providers}]'}
`;
  const at = (text: string, path: string, more = {}) =>
    canI(read(text), parseCaller('dev/web', 'cluster.local'), 'orders.shop:8080', { method: 'GET', path }, more);

  it('with a known authorizer leaves the decision to it', () => {
    const text = SERVICE + custom + config('{name: opa, envoyExtAuthzGrpc: {service: opa, port: 1}}');
    expect(at(text, '/asked')).toMatchObject({
      allowed: 'unknown',
      answers: [{ unknown: 'the external authorizer opa decides' }],
    });
    expect(at(text, '/asked', { external: { opa: true } }).allowed).toBe('yes');
    expect(at(text, '/asked', { external: { opa: false } }).allowed).toBe('no');
    expect(at(text, '/free').allowed).toBe('yes');
  });

  it('with an unknown authorizer is unknown if the configuration was not read, and refuses otherwise', () => {
    expect(at(SERVICE + custom, '/asked').allowed).toBe('unknown');
    expect(at(SERVICE + custom + config(''), '/asked').allowed).toBe('no');
  });
});

it('assumes a sidecar for a namespace that was not read, and not for others', () => {
  const assumed = (text: string) => {
    const view = read(text);
    return assumedNamespaces(view, findEndpoints(view, 'orders.shop:8080'));
  };
  expect(assumed(SERVICE)).toEqual(['shop']);
  for (const [name, mesh] of UNDERSTOOD.filter(([, text]) => text.includes('kind: Namespace')))
    expect([name, assumed(SERVICE + mesh)]).toEqual([name, []]);
});
