import { loadManifests, viewMesh } from '@meshpass/istio';
import { expect, test } from 'vitest';
import { findAddedCheck } from '../../src/exposure/patches.ts';

const filter = (more: Readonly<Record<string, string>> = {}) => {
  const { namespace = 'istio-ingress', labels = '{istio: ingressgateway}', context = 'GATEWAY', type } = more;
  return `apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: sign-in, namespace: ${namespace}}
spec:
  workloadSelector: {labels: ${labels}}
  configPatches:
    - applyTo: HTTP_FILTER
      match: {context: ${context}}
      patch:
        operation: INSERT_BEFORE
        value:
          name: sign-in
          typed_config: {"@type": type.googleapis.com/${type ?? 'envoy.extensions.filters.http.oauth2.v3.OAuth2'}}
`;
};
const PROXY = { namespace: 'istio-ingress', labels: { istio: 'ingressgateway' } };
const ask = (text: string, ports?: readonly number[]) =>
  findAddedCheck(viewMesh(loadManifests(text, 'mesh.yaml').resources), 'GATEWAY', PROXY, ports);

test.each([
  ['an OAuth filter of the gateway', filter()],
  ['an external authorization filter', filter({ type: 'envoy.extensions.filters.http.ext_authz.v3.ExtAuthz' })],
  ['a filter of the root namespace for every proxy', filter({ namespace: 'istio-system', labels: '{}' })],
  ['a filter without a context', filter({ context: 'ANY' })],
])('%s may require an identity', (_, text) => {
  expect(ask(text)).toMatch(/^EnvoyFilter istio-(?:ingress|system)\/sign-in adds a filter that may require one$/);
});

test.each([
  ['a filter of another gateway', filter({ labels: '{istio: internal}' })],
  ['a filter of another namespace', filter({ namespace: 'shop' })],
  ['a filter of sidecars', filter({ context: 'SIDECAR_INBOUND' })],
  ['a filter that compresses', filter({ type: 'envoy.extensions.filters.http.compressor.v3.Compressor' })],
])('%s requires none', (_, text) => {
  expect(ask(text)).toBeUndefined();
});

test('WebAssembly in the authentication phase may require an identity', () => {
  const plugin = (phase: string) => `apiVersion: extensions.istio.io/v1alpha1
kind: WasmPlugin
metadata: {name: sign-in, namespace: istio-ingress}
spec: {selector: {matchLabels: {istio: ingressgateway}}, url: oci://registry.example.com/sign-in, phase: ${phase}}
`;
  expect(ask(plugin('AUTHN'))).toBe('WasmPlugin istio-ingress/sign-in may require one');
  expect(ask(plugin('STATS'))).toBeUndefined();
});

test('WebAssembly for some ports requires nothing at others', () => {
  const text = `apiVersion: extensions.istio.io/v1alpha1
kind: WasmPlugin
metadata: {name: sign-in, namespace: istio-ingress}
spec:
  selector: {matchLabels: {istio: ingressgateway}}
  url: oci://registry.example.com/sign-in
  phase: AUTHN
  match: [{mode: CLIENT, ports: [{number: 8443}]}]
`;
  expect(ask(text, [443, 8443])).toBe('WasmPlugin istio-ingress/sign-in may require one');
  expect(ask(text)).toBe('WasmPlugin istio-ingress/sign-in may require one');
  expect(ask(text, [443])).toBeUndefined();
});
