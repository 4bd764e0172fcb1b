/**
 * Istio's own authorization examples, read from the source that the lab is built of: every field of them is known, what
 * its builder leaves out is left out, and what its integration tests expect of paths holds.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createAuthorizer } from '@meshpass/analysis/evaluate';
import { type AuthorizationPolicy, DEFAULT_MESH_CONFIG, loadManifests, viewMesh } from '@meshpass/istio';
import { beforeAll, describe, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { compileRule } from '../../packages/analysis/src/evaluate/rule/compile.ts';
import type { Shape } from '../../packages/istio/src/object/shape.ts';
import { objectShape } from '../../packages/istio/src/object/shapes.ts';
import { istioSource } from './istio-source.ts';

let root: string;
beforeAll(() => {
  root = istioSource();
});

const BUILDER = 'pilot/pkg/security/authz/builder/testdata';
const INTEGRATION = 'tests/integration/security';
const SUBSTITUTES: readonly (readonly [RegExp, string | ((text: string) => string)])[] = [
  // Whole lines of control go; a value is a port, a principal, a namespace or a name.
  [/^\s*\{\{-?\s*(?:range|if|else|end|with)[^}]*\}\}\s*$/gm, ''],
  [/(alues:\s*)\{\{[^}]*\}\}/g, '$1["10.0.0.1"]'],
  [/(mode:\s*)"?\{\{[^}]*\.TLSMode[^}]*\}\}"?/g, '$1ISTIO_MUTUAL'],
  [/(mode:\s*)"?\{\{[^}]*\}\}"?/g, '$1STRICT'],
  [/\{\{[^}]*PortForName[^}]*\}\}/g, portOf],
  [/\{\{[^}]*Port[^}]*\}\}/g, '8080'],
  [/\{\{[^}]*SpiffeIdentity[^}]*\}\}/g, 'cluster.local/ns/ns1/sa/denied'],
  [/\{\{[^}]*\}\}/g, 'to'],
];

const files = (folder: string, end: string): string[] =>
  readdirSync(join(root, folder))
    .filter((name) => name.endsWith(end))
    .sort();
const text = (...path: string[]): string => readFileSync(join(root, ...path), 'utf8');

function policiesOf(source: string, name: string): readonly AuthorizationPolicy[] {
  const { resources, problems } = loadManifests(source, name);
  expect(problems, name).toEqual([]);
  return resources.filter((one): one is AuthorizationPolicy => one.kind === 'AuthorizationPolicy');
}

function filled(template: string): string {
  return SUBSTITUTES.reduce((source, [pattern, value]) => source.replace(pattern, value as string), template);
}

/** Ports of different names are different. */
function portOf(expression: string): string {
  const name = /`([^`]*)`|"([^"]*)"/.exec(expression);
  const word = name?.[1] ?? name?.[2] ?? 'http';
  return word === 'http' ? '8080' : String(9000 + [...word].reduce((sum, letter) => sum + letter.charCodeAt(0), 0));
}

describe('the inputs of its builder', () => {
  it.each(['http', 'tcp'])('%s: every field is known, and the same rules are left out', (kind) => {
    const inputs = files(`${BUILDER}/${kind}`, '-in.yaml');
    expect(inputs.length).toBeGreaterThan(kind === 'http' ? 15 : 5);
    let compared = 0;
    for (const input of inputs) {
      const policies = policiesOf(text(BUILDER, kind, input), input);
      expect(policies.length, input).toBeGreaterThan(0);
      const output = input.replace('-in.yaml', '-out.yaml');
      if (!files(`${BUILDER}/${kind}`, output).includes(output)) continue;
      const built = new Set(
        [...text(BUILDER, kind, output).matchAll(/ns\[[^\]]*\]-policy\[[^\]]*\]-rule\[\d+\]/g)].map(String),
      );
      for (const { metadata, spec } of policies) {
        for (const [index, rule] of (spec.rules ?? []).entries()) {
          const action = spec.action ?? 'ALLOW';
          const context = {
            namespace: metadata.namespace,
            action,
            forTcp: kind === 'tcp',
            trustDomains: ['cluster.local'],
          };
          const name = `ns[${metadata.namespace}]-policy[${metadata.name}]-rule[${index}]`;
          expect(compileRule(rule, context) !== undefined, `${input}: ${name}`).toBe(built.has(name));
          compared++;
        }
      }
    }
    expect(compared).toBeGreaterThan(10);
  });
});

describe('the templates of its integration tests', () => {
  it.each(['authz', 'requestauthn', 'reachability'])(
    '%s: every field is known, and all of them can be evaluated',
    (folder) => {
      const templates = files(`${INTEGRATION}/testdata/${folder}`, '.yaml.tmpl');
      expect(templates.length).toBeGreaterThan(5);
      for (const template of templates) {
        const { resources, problems } = loadManifests(
          filled(text(INTEGRATION, 'testdata', folder, template)),
          template,
        );
        expect(problems, template).toEqual([]);
        const view = viewMesh([...resources, ...workload()]);
        const authorizer = createAuthorizer(view, view.workloads[0]!);
        const call = {
          port: 8080,
          principal: 'cluster.local/ns/ns1/sa/a',
          http: { method: 'GET', path: '/', authority: 'to' },
        };
        expect(typeof authorizer.decide(call).allowed, template).toBe('boolean');
      }
    },
  );

  it.each([
    ['PathTemplating', 'path-templating', 'BASE'],
    ['PathPrecedence', 'path-precedence', 'BASE'],
    ['PathNormalization', 'path-normalization', 'BASE'],
  ] as const)('what TestAuthz_%s expects holds', (test, template, pathNormalization) => {
    const body = new RegExp(`func TestAuthz_${test}\\(.*?\\n}\\n`, 's').exec(text(INTEGRATION, 'authz_test.go'))![0];
    const cases = [...body.matchAll(/path:\s+"([^"]*)",\s*allow:\s+(true|false)/g)].map(
      ([, path, allow]) => [path!, allow === 'true'] as const,
    );
    expect(cases.length).toBeGreaterThan(3);
    const { resources } = loadManifests(filled(text(INTEGRATION, 'testdata/authz', `${template}.yaml.tmpl`)), template);
    const view = viewMesh([...resources, ...workload()], { ...DEFAULT_MESH_CONFIG, pathNormalization });
    const authorizer = createAuthorizer(view, view.workloads[0]!);
    const decided = cases.map(([path]) => {
      const http = { method: 'GET', path, authority: 'to' };
      return [path, authorizer.decide({ port: 8080, principal: 'cluster.local/ns/ns1/sa/a', http }).allowed];
    });
    expect(decided).toEqual(cases);
  });
});

describe('its CustomResourceDefinitions', () => {
  it('have just the fields that are known', () => {
    const crds = parseAllDocuments(text('manifests/charts/base/files/crd-all.gen.yaml')).map(
      (one) => one.toJSON() as Crd,
    );
    const compared: string[] = [];
    for (const crd of crds) {
      const shape = objectShape(crd?.spec.names.kind)?.open.spec;
      const version = crd?.spec.versions.find(({ name }) => name === 'v1') ?? crd?.spec.versions[0];
      const schema = version?.schema.openAPIV3Schema.properties?.spec;
      if (!shape || !schema) continue;
      compare(shape, schema, crd.spec.names.kind);
      compared.push(crd.spec.names.kind);
    }
    expect(compared.toSorted()).toEqual([
      ...['AuthorizationPolicy', 'DestinationRule', 'EnvoyFilter', 'Gateway', 'PeerAuthentication'],
      ...['RequestAuthentication', 'ServiceEntry', 'Sidecar', 'TrafficExtension', 'VirtualService', 'WasmPlugin'],
    ]);
  });
});

interface Schema {
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly items?: Schema;
  readonly additionalProperties?: Schema;
}
interface Crd {
  readonly spec: {
    readonly names: { readonly kind: string };
    readonly versions: readonly { readonly name: string; readonly schema: { readonly openAPIV3Schema: Schema } }[];
  };
}

function compare(shape: Shape, schema: Schema, at: string): void {
  if (typeof shape === 'string' || 'oneOf' in shape) return;
  if ('list' in shape || 'map' in shape) {
    if ('list' in shape) compare(shape.list, schema.items!, `${at}[]`);
    else compare(shape.map, schema.additionalProperties!, `${at}{}`);
    return;
  }
  const known = 'fields' in shape ? shape.fields : shape.open;
  const there = Object.keys(schema.properties ?? {});
  if ('fields' in shape) expect(Object.keys(known).toSorted(), at).toEqual(there.toSorted());
  for (const [name, inner] of Object.entries(known)) {
    // Open shapes are shared by alternatives that do not all have the same members.
    const member = schema.properties?.[name];
    if (member) compare(inner, member, `${at}.${name}`);
  }
}

/** Uses of the templates' policies, by the names that fill them. */
function workload() {
  const labels = { app: 'to', version: 'v1' };
  const objects = [
    {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: 'to', namespace: 'default' },
      spec: { template: { metadata: { labels }, spec: { serviceAccountName: 'to' } } },
    },
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'to', namespace: 'default' },
      spec: { selector: { app: 'to' }, ports: [{ name: 'http', port: 8080 }] },
    },
  ];
  return loadManifests(JSON.stringify({ apiVersion: 'v1', kind: 'List', items: objects }), 'workload').resources;
}
