import { describe, expect, it } from 'vitest';
import { loadManifests, loadObject } from '../src/manifest/load.ts';

const POLICY = `# Source: shop/templates/policy.yaml
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: orders
  namespace: shop
spec:
  selector: {matchLabels: {app: orders}}
  action: DENY
  rules:
    - from:
        - source: {notPrincipals: ["*/ns/dev/*"]}
      to:
        - operation:
            paths:
              - /admin
              - "/x/*"
`;
const SERVICE = `---
apiVersion: v1
kind: Service
metadata: {name: orders, namespace: shop}
spec: {ports: [{port: 80, name: http}]}
`;

const said = (text: string | Uint8Array) =>
  loadManifests(text, 'a.yaml').problems.map(
    ({ code, place, message }) => `${code} ${place.line}:${place.column} ${message}`,
  );

describe('loadManifests', () => {
  it('records the position of every member', () => {
    const { resources, problems } = loadManifests(`${POLICY}${SERVICE}`, 'a.yaml');
    expect(problems).toEqual([]);
    expect(resources.map(({ kind, metadata }) => `${kind} ${metadata.namespace}/${metadata.name}`)).toEqual([
      'AuthorizationPolicy shop/orders',
      'Service shop/orders',
    ]);
    const [policy, service] = resources;
    expect(policy!.origin).toMatchObject({ file: 'a.yaml', line: 2, template: 'shop/templates/policy.yaml' });
    expect(service!.origin.line).toBe(19);
    const at = policy!.origin.at;
    expect(at(['spec', 'rules', 0])).toEqual({ file: 'a.yaml', line: 11, column: 7 });
    expect(at(['spec', 'rules', 0, 'to', 0, 'operation', 'paths', 1])).toEqual({
      file: 'a.yaml',
      line: 17,
      column: 17,
    });
    expect(at(['spec', 'action'], 'key')).toEqual({ file: 'a.yaml', line: 9, column: 3 });
    expect(at(['spec', 'rules', 7, 'when'])).toEqual({ file: 'a.yaml', line: 11, column: 5 });
    expect(service!.origin.at(['spec', 'ports', 0, 'port'])).toEqual({ file: 'a.yaml', line: 22, column: 23 });
  });

  it('reads the items of Lists with their own lines', () => {
    const list = `apiVersion: v1
kind: List
items:
  - apiVersion: v1
    kind: Namespace
    metadata: {name: shop}
  - apiVersion: v1
    kind: ServiceAccount
    metadata: {name: orders}
`;
    const { resources, problems } = loadManifests(list, 'l.yaml');
    expect(problems).toEqual([]);
    expect(resources.map(({ kind, origin, metadata }) => [kind, origin.line, metadata.namespace])).toEqual([
      ['Namespace', 4, ''],
      ['ServiceAccount', 7, 'default'],
    ]);
    expect(resources[1]!.origin.at(['metadata', 'name'])).toEqual({ file: 'l.yaml', line: 9, column: 22 });
  });

  it('reads JSON and responses of a cluster', () => {
    const object = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop' } };
    const fromText = loadManifests(JSON.stringify(object, null, '\t'), 'n.json');
    expect(fromText.problems).toEqual([]);
    expect(fromText.resources[0]).toMatchObject({ kind: 'Namespace', metadata: { name: 'shop' } });
    const list = { apiVersion: 'v1', kind: 'NamespaceList', items: [{ metadata: { name: 'shop' } }] };
    const fromCluster = loadObject(list, 'cluster lab');
    expect(fromCluster.resources[0]).toMatchObject({ kind: 'Namespace', metadata: { name: 'shop' } });
    expect(fromCluster.resources[0]!.origin).toMatchObject({ file: 'cluster lab', line: 0 });
  });

  it('distinguishes the two kinds of Gateways and keeps objects of unknown kinds', () => {
    const gateway = (version: string) => `---\napiVersion: ${version}\nkind: Gateway\nmetadata: {name: g}\nspec: {}\n`;
    const other = '---\napiVersion: acme.dev/v1\nkind: Widget\nmetadata: {name: w}\nspec: {what: ever}\n';
    const text = gateway('networking.istio.io/v1') + gateway('gateway.networking.k8s.io/v1') + other;
    const loaded = loadManifests(text, 'a.yaml');
    expect(loaded.problems).toEqual([]);
    expect(loaded.resources.map(({ kind }) => kind)).toEqual(['Gateway', 'KubernetesGateway']);
    expect(loaded.others).toMatchObject([{ kind: 'Widget', spec: { what: 'ever' } }]);
  });

  it('accepts anchors and merge keys', () => {
    const text = `apiVersion: v1
kind: Service
metadata: {name: a, labels: &labels {app: a}}
spec:
  selector: {<<: *labels, tier: web}
`;
    const { resources, problems } = loadManifests(text, 'a.yaml');
    expect(problems).toEqual([]);
    expect(resources[0]).toMatchObject({ spec: { selector: { app: 'a', tier: 'web' } } });
  });

  it('accepts closing brackets in the first column, like the tools of Kubernetes, and keeps positions', () => {
    const text = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a}
spec:
  hosts: [
  "one.example.com",
"two
three"
  ]
  gateways: [mesh]
`;
    const { resources, problems } = loadManifests(text, 'a.yaml');
    expect(problems).toEqual([]);
    expect(resources[0]).toMatchObject({ spec: { hosts: ['one.example.com', 'two three'], gateways: ['mesh'] } });
    expect(resources[0]!.origin.at(['spec', 'hosts', 1])).toMatchObject({ line: 7, column: 1 });
    expect(resources[0]!.origin.at(['spec', 'gateways', 0])).toMatchObject({ line: 10, column: 14 });
    // A line end that has a meaning is kept.
    for (const before of ['# note', ''])
      expect(said(text.replace('"one.example.com",', `"one.example.com", ${before}${before ? '' : '\n'}`))).not.toEqual(
        [],
      );
  });
});

describe('loadManifests reports problems by line', () => {
  it.each([
    ['an unknown field', POLICY.replace('paths:', 'path:'), 'manifest_unknown_field 15:13 '],
    ['a field of the wrong type', POLICY.replace('- /admin', '- 80'), 'manifest_invalid 16:17 '],
    ['an unknown action', POLICY.replace('DENY', 'REFUSE'), 'manifest_invalid 9:11 '],
    ['a word that Kubernetes reads as true', POLICY.replace('- /admin', '- on'), 'manifest_invalid 16:17 '],
    ['an object without a name', 'apiVersion: v1\nkind: Pod\nmetadata: {}', 'manifest_invalid 3:'],
    ['no object', '- 1\n- 2', 'manifest_invalid 1:1 '],
    ['a duplicate key', 'apiVersion: v1\nkind: Pod\nkind: Service', 'manifest_syntax 3:1 '],
    [
      'a key that would change the prototype',
      'apiVersion: v1\nkind: Pod\n__proto__: {polluted: true}',
      'manifest_syntax 3:1 ',
    ],
    ['a tag', 'apiVersion: !!js/function "x"', 'manifest_syntax 1:13 '],
    ['an alias without an anchor', 'apiVersion: *nothing', 'manifest_syntax 1:'],
    ['a tab', 'apiVersion: v1\nkind:\n\tPod: x', 'manifest_syntax 3:'],
    ['invalid UTF-8', Buffer.from('a: b\nc: \xff\n', 'latin1'), 'manifest_syntax 2:1 '],
  ])('%s', (_, text, start) => {
    const [problem, ...more] = said(text);
    expect(problem?.startsWith(start), problem).toBe(true);
    expect(more).toEqual([]);
  });

  it('reads the other documents after an unreadable one', () => {
    const { resources, problems } = loadManifests(`${POLICY}---\na: [\n${SERVICE}`, 'a.yaml');
    expect(resources.map(({ kind }) => kind)).toEqual(['AuthorizationPolicy', 'Service']);
    expect(problems).toMatchObject([{ code: 'manifest_syntax', place: { line: 20 } }]);
  });

  it('suggests the intended name for a misspelled field', () => {
    expect(said(POLICY.replace('notPrincipals', 'notPrincipal'))).toEqual([
      'manifest_unknown_field 12:20 AuthorizationPolicy orders: spec.rules.0.from.0.source.notPrincipal: unknown ' +
        'field "notPrincipal" (did you mean "notPrincipals"?)',
    ]);
  });
});

describe('loadManifests rejects hostile text in bounded memory', () => {
  const laughs = Array.from({ length: 30 }, (_, n) => `a${n}: &a${n} [${Array(10).fill(n ? `*a${n - 1}` : 'x')}]`);
  const merges = Array.from(
    { length: 30 },
    (_, n) => `m${n}: &m${n} {${n ? `<<: [${Array(9).fill(`*m${n - 1}`)}], ` : ''}k${n}: 1}`,
  );
  it.each([
    ['100 MB', () => 'a: b\n'.repeat(20_000_000)],
    ['a document of many values', () => 'a,'.repeat(3_000_000).replace(/^/, '[')],
    ['deep nesting in flow style', () => '['.repeat(1_000_000)],
    ['deep nesting in block style', () => '- '.repeat(100_000)],
    ['deep nesting of mappings', () => Array.from({ length: 2000 }, (_, n) => `${' '.repeat(n)}a:`).join('\n')],
    ['an alias bomb', () => laughs.join('\n')],
    ['a bomb of merge keys', () => merges.join('\n')],
    ['an alias of itself', () => 'a: &a [*a]'],
    ['endless explicit keys', () => '? '.repeat(100_000)],
    ['endless anchors', () => '&a '.repeat(100_000)],
    ['a quote that never ends', () => `a: "${'x'.repeat(4_000_000)}`],
    ['control characters', () => `a: ${'\u0000'.repeat(1000)}`],
    ['binary', () => new Uint8Array(1_000_000).map((_, n) => (n * 7919) % 256)],
  ])('%s', (_, make) => {
    const text = make();
    const { resources, problems } = loadManifests(text, 'hostile.yaml');
    expect(resources).toEqual([]);
    expect(problems.length).toBeGreaterThan(0);
    expect(problems[0]!.code).toMatch(/^manifest_(syntax|too_large|invalid)$/);
    expect(problems[0]!.place).toMatchObject({ file: 'hostile.yaml', line: expect.any(Number) });
    expect(problems[0]!.place.line).toBeGreaterThan(0);
  });

  it('reports many documents that are not objects', () => {
    const { problems } = loadManifests('--- x\n'.repeat(100_000), 'hostile.yaml');
    expect(problems).toHaveLength(1000);
  });
});
