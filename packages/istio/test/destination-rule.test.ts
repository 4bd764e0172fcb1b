import { describe, expect, it, test } from 'vitest';
import { type ClientProxy, indexObjects, loadManifests } from '../src/index.ts';
import { destinationSettings } from '../src/policy/destination-rule.ts';

const PLACE = { clusterDomain: 'cluster.local', rootNamespace: 'istio-system' };
const HOST = 'orders.shop.svc.cluster.local';
const GATEWAY: ClientProxy = { namespace: 'istio-ingress', labels: { istio: 'ingressgateway' } };

const tls = (mode: string) => `trafficPolicy: {tls: {mode: ${mode}}}`;
const rule = (spec: string, namespace = 'shop', name = 'tls') =>
  `---\n{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: ${name}, namespace: ${namespace}}, spec: {${spec}}}\n`;

function settings(text: string, client = GATEWAY) {
  const { resources, problems } = loadManifests(text, 'rules.yaml');
  expect(problems).toEqual([]);
  return destinationSettings(indexObjects(resources), PLACE)(client, HOST);
}
const modeOf = (text: string, client = GATEWAY) => settings(text, client).clientTls(80)?.mode;

describe('client TLS comes from', () => {
  const wide = rule(`host: '*.local', ${tls('ISTIO_MUTUAL')}`, 'istio-system');
  const specific = rule(`host: orders, ${tls('SIMPLE')}`);

  it.each([
    ['no rule', '', undefined],
    ['the root namespace', wide, 'ISTIO_MUTUAL'],
    ['the namespace of the Service before the root namespace', wide + specific, 'SIMPLE'],
    [
      'the namespace of the client before all others',
      rule(`host: ${HOST}, ${tls('DISABLE')}`, 'istio-ingress') + specific,
      'DISABLE',
    ],
    ['no rule of another namespace', rule(`host: ${HOST}, ${tls('DISABLE')}`, 'dev'), undefined],
    [
      'no rule without TLS, which also hides wider rules',
      wide + rule('host: orders, trafficPolicy: {connectionPool: {}}'),
      undefined,
    ],
    ['the most specific host', rule(`host: '*.local', ${tls('DISABLE')}`, 'shop', 'a') + specific, 'SIMPLE'],
    ['a rule without a mode, which disables it', rule('host: orders, trafficPolicy: {tls: {}}'), 'DISABLE'],
    ['no rule that is exported to others', rule(`host: orders, exportTo: [dev], ${tls('DISABLE')}`), undefined],
    [
      'no wider rule if the specific one is exported to others',
      rule(`host: orders, exportTo: [dev], ${tls('DISABLE')}`) +
        rule(`host: '*.local', ${tls('SIMPLE')}`, 'shop', 'wide'),
      undefined,
    ],
    [
      'a rule for its own workload',
      rule(
        `host: ${HOST}, workloadSelector: {matchLabels: {istio: ingressgateway}}, ${tls('SIMPLE')}`,
        'istio-ingress',
      ) + rule(`host: ${HOST}, ${tls('DISABLE')}`, 'istio-ingress', 'a'),
      'SIMPLE',
    ],
    [
      'no wider rule if the specific one is for another workload',
      rule(`host: ${HOST}, workloadSelector: {matchLabels: {app: web}}, ${tls('SIMPLE')}`, 'istio-ingress') +
        rule(`host: '*.local', ${tls('DISABLE')}`, 'istio-ingress', 'wide'),
      undefined,
    ],
  ])('%s', (_, text, mode) => {
    expect(modeOf(text)).toBe(mode);
  });

  it('the namespace of the Service, for a client in the root namespace', () => {
    const client = { namespace: 'istio-system', labels: {} };
    expect(modeOf(wide + specific, client)).toBe('SIMPLE');
    const own = rule(`host: '*.local', exportTo: ['.'], ${tls('DISABLE')}`, 'istio-system', 'own');
    expect(modeOf(wide + specific + own, client)).toBe('DISABLE');
  });

  it('the oldest of several rules for one host', () => {
    const aged = (name: string, year: number, spec: string) =>
      `---\n{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: ${name}, namespace: shop, creationTimestamp: '${year}-01-01T00:00:00Z'}, spec: {host: orders, ${spec}}}\n`;
    const text = aged('a', 2026, tls('DISABLE')) + aged('b', 2025, tls('SIMPLE')) + aged('c', 2024, 'subsets: []');
    expect(settings(text).clientTls(80)).toMatchObject({ mode: 'SIMPLE', by: { metadata: { name: 'b' } } });
  });

  it('the port and the subset before the rule', () => {
    const { clientTls } = settings(
      rule(`host: orders, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}, portLevelSettings: [{port: {number: 81}, tls: {mode: DISABLE}}]},
        subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}, trafficPolicy: {tls: {mode: SIMPLE}}}]`),
    );
    expect([80, 81].map((port) => clientTls(port)?.mode)).toEqual(['ISTIO_MUTUAL', 'DISABLE']);
    expect(['v1', 'v2', 'v3'].map((subset) => clientTls(80, subset)?.mode)).toEqual([
      'ISTIO_MUTUAL',
      'SIMPLE',
      undefined,
    ]);
  });
});

test('a default of the mesh keeps rules in their namespace', () => {
  const { resources } = loadManifests(rule(`host: orders, ${tls('DISABLE')}`), 'rules.yaml');
  const settingsOf = destinationSettings(indexObjects(resources), { ...PLACE, destinationRuleExportTo: ['.'] });
  expect(settingsOf(GATEWAY, HOST).clientTls(80)).toBeUndefined();
  expect(settingsOf({ namespace: 'shop', labels: {} }, HOST).clientTls(80)?.mode).toBe('DISABLE');
});

test('subsets of one host are merged, also with those of a wildcard that is the most specific host', () => {
  const subset = (name: string, of: string, version: string) =>
    rule(`host: '*.shop.svc.cluster.local', subsets: [{name: ${of}, labels: {version: ${version}}}]`, 'shop', name);
  const { subsetLabels } = settings(subset('a', 'v1', 'one') + subset('b', 'v2', 'two') + subset('c', 'v1', 'other'));
  expect(['v1', 'v2', 'v3'].map(subsetLabels)).toEqual([{ version: 'one' }, { version: 'two' }, undefined]);
});
