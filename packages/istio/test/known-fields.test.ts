/** Compares the generated file with the generator's output for the Istio that the lab builds. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { istioModule, knownFields } from '../generate/known-fields.ts';
import { loadManifests, loadObject } from '../src/manifest/load.ts';

const generated = readFileSync(new URL('../src/generated/known-fields.ts', import.meta.url), 'utf8');
const module = istioModule(true);

describe('generated fields', () => {
  it('belong to the Istio version that the lab builds', () => {
    const pinned = readFileSync(new URL('../../../lab/tools/istio/go.mod', import.meta.url), 'utf8');
    const version = /^\s*istio\.io\/istio (\S+)/m.exec(pinned)![1]!;
    expect(generated.split('\n')[0]).toContain(`istio.io/istio ${version}.`);
  });

  // Unit tests download nothing, so this needs the Istio module in Go's cache.
  it.runIf(module !== undefined)('are what its CustomResourceDefinitions say', () => {
    expect(knownFields(module!) === generated, 'run: npm run generate -w @meshpass/istio').toBe(true);
  });

  it.each([
    ['VirtualService', 'http: [{match: [{url: {exact: /a}}]}]', 'spec.http.0.match.0.url', 'uri'],
    ['VirtualService', 'http: [{directresponse: {status: 200}}]', 'spec.http.0.directresponse', 'directResponse'],
    ['DestinationRule', 'trafficPolicy: {tls: {mod: SIMPLE}}', 'spec.trafficPolicy.tls.mod', 'mode'],
    ['Sidecar', 'ingress: [{defaultEndPoint: "127.0.0.1:80"}]', 'spec.ingress.0.defaultEndPoint', 'defaultEndpoint'],
  ])('detect a misspelled field of a %s: %s', (kind, spec, path, meant) => {
    const text = `{apiVersion: networking.istio.io/v1, kind: ${kind}, metadata: {name: a, namespace: b}, spec: {${spec}}}`;
    const [problem] = loadManifests(text, 'a.yaml').problems;
    expect(problem?.message).toContain(`${path}: `);
    expect(problem?.message).toContain(`(did you mean "${meant}"?)`);
  });

  it('cover the Gateway API, whose Gateway has the same kind as that of Istio', () => {
    const text =
      '{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: a}, spec: {gatewayclassName: istio, listeners: []}}';
    expect(loadManifests(text, 'a.yaml').problems.map(({ message }) => message)).toEqual([
      'Gateway a: spec.gatewayclassName: unknown field "gatewayclassName" (did you mean "gatewayClassName"?)',
    ]);
  });

  it.each([
    ['a route', 'VirtualService', { http: [{ newer: {} }] }, 0],
    ['a list of gateways', 'VirtualService', { gatewayz: [] }, 1],
  ])('accept unknown members of %s from an API server', (_, kind, spec, problems) => {
    const object = { apiVersion: 'networking.istio.io/v1', kind, metadata: { name: 'a', namespace: 'b' }, spec };
    expect(loadObject(object, 'cluster').problems).toHaveLength(problems);
    expect(loadManifests(JSON.stringify(object), 'a.json').problems).toHaveLength(1);
  });
});
