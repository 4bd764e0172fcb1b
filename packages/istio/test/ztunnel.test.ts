/** Rules and modes at a ztunnel that differ from those at a sidecar, as istiod and ztunnel read them. */
import { describe, expect, it } from 'vitest';
import { loadManifests, ofKind, ztunnelPeerModes, ztunnelRule } from '../src/index.ts';

describe('a rule', () => {
  const tests = (rule: object, action: 'ALLOW' | 'DENY' = 'DENY') => ztunnelRule(rule, action).clauses;

  it('without clauses matches every connection', () => {
    expect(tests({})).toEqual([]);
    expect(tests({ from: [], to: [] }, 'ALLOW')).toEqual([]);
  });

  it('matches none if a clause has only alternatives without a test', () => {
    expect(tests({ to: [{ operation: {} }] })).toBeUndefined();
    expect(
      tests({ from: [{ source: { namespaces: ['a'] } }], when: [{ key: 'request.headers[x]', values: ['y'] }] }),
    ).toBeUndefined();
    expect(tests({ when: [{ key: 'source.serviceAccount', values: ['a/b'] }] })).toBeUndefined();
    expect(tests({ when: [{ key: 'unknown', values: ['x'] }] })).toBeUndefined();
  });

  it('keeps the alternatives that test something', () => {
    expect(tests({ to: [{ operation: { paths: ['/a'] } }, { operation: { ports: ['80'], hosts: ['x'] } }] })).toEqual([
      [[{ field: 'destination.port', values: ['80'], notValues: [] }]],
    ]);
  });

  it('loses invalid values, and a test without any', () => {
    const source = {
      principals: ['a'],
      ipBlocks: ['10.0.0.0/33', 'x'],
      notIpBlocks: ['10.0.0.0/8', '::1', 'fe80::1%eth0'],
    };
    expect(tests({ from: [{ source }] }, 'ALLOW')).toEqual([
      [
        [
          { field: 'source.ip', values: [], notValues: ['10.0.0.0/8', '::1'] },
          { field: 'source.principal', values: ['a'], notValues: [] },
        ],
      ],
    ]);
    expect(tests({ to: [{ operation: { ports: ['65536', 'http'] } }] })).toBeUndefined();
  });

  it('that allows is left out for a field of HTTP, and kept for a trust domain', () => {
    expect(tests({ from: [{ source: { namespaces: ['a'], requestPrincipals: ['*'] } }] }, 'ALLOW')).toBeUndefined();
    const { clauses, unread } = ztunnelRule(
      { from: [{ source: { namespaces: ['a'], trustDomains: ['b'] } }] },
      'ALLOW',
    );
    expect(clauses).toEqual([[[{ field: 'source.namespace', values: ['a'], notValues: [] }]]]);
    expect(unread).toEqual([{ name: 'trustDomains', path: ['from', 0, 'source', 'trustDomains'], isIgnored: true }]);
    expect(tests({ from: [{ source: { trustDomains: ['b'] } }] }, 'ALLOW')).toBeUndefined();
  });
});

describe('the modes of a workload', () => {
  const peer = (spec: string, namespace: string, name = 'default') =>
    `apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: ${name}, namespace: ${namespace}}\nspec: ${spec}\n`;
  const STRICT = peer('{mtls: {mode: STRICT}}', 'istio-system');
  const own = (members: string) => peer(`{selector: {matchLabels: {app: orders}}, ${members}}`, 'shop', 'orders');
  /** Modes of all ports, of 8080, and of 9090. */
  const modes = (...texts: readonly string[]) => {
    const policies = ofKind(loadManifests(texts.join('---\n'), 'mesh.yaml').resources, 'PeerAuthentication');
    const { general, ports } = ztunnelPeerModes(
      policies,
      { namespace: 'shop', labels: { app: 'orders' } },
      'istio-system',
    );
    return [general, ports.get(8080) ?? general, ports.get(9090) ?? general].map(({ mode }) => mode[0]).join('');
  };

  it.each([
    ['none', [], 'PPP'],
    ['of the mesh', [STRICT], 'SSS'],
    ['of the namespace', [STRICT, peer('{mtls: {mode: DISABLE}}', 'shop')], 'PPP'],
    ['of a workload with an open port', [own('mtls: {mode: STRICT}, portLevelMtls: {"8080": {mode: DISABLE}}')], 'SPS'],
    [
      'of an open workload with a strict port',
      [own('mtls: {mode: PERMISSIVE}, portLevelMtls: {"8080": {mode: STRICT}}')],
      'PSP',
    ],
    ['of a port alone', [own('portLevelMtls: {"8080": {mode: STRICT}}')], 'PSP'],
    ['of an open port in a strict mesh', [STRICT, own('portLevelMtls: {"8080": {mode: PERMISSIVE}}')], 'SPS'],
    // istiod leaves out the rule of the port.
    [
      'of a strict port of an open workload in a strict mesh',
      [STRICT, own('mtls: {mode: PERMISSIVE}, portLevelMtls: {"8080": {mode: STRICT}}')],
      'PPP',
    ],
    [
      'of a strict port of an open workload in a strict namespace',
      [peer('{mtls: {mode: STRICT}}', 'shop'), own('mtls: {mode: DISABLE}, portLevelMtls: {"8080": {mode: STRICT}}')],
      'PSP',
    ],
    // A port counts as open only beside one that is PERMISSIVE.
    ['of a port with DISABLE in a strict mesh', [STRICT, own('portLevelMtls: {"8080": {mode: DISABLE}}')], 'SSS'],
    [
      'of ports with DISABLE and PERMISSIVE in a strict mesh',
      [STRICT, own('portLevelMtls: {"8080": {mode: DISABLE}, "9090": {mode: PERMISSIVE}}')],
      'SPP',
    ],
    // istiod refers to a policy that it does not create.
    [
      'of an open port beside a namespace policy without a mode',
      [STRICT, peer('{}', 'shop'), own('portLevelMtls: {"8080": {mode: PERMISSIVE}}')],
      'PPP',
    ],
  ])('%s', (_, texts, expected) => {
    expect(modes(...texts)).toBe(expected);
  });
});
