/**
 * Generates `src/generated/known-fields.ts` from the CustomResourceDefinitions of Istio and of the Gateway API in the
 * Istio module that the lab builds: `npm run generate -w @meshpass/istio`. A test fails if the file is out of date.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseYamlValues } from '../src/manifest/read-yaml.ts';
import type { Shape } from '../src/object/shape.ts';

export interface IstioModule {
  /** Source directory. */
  readonly source: string;
  readonly version: string;
}

/** Supported kinds, with their names in `Resource`. */
const KINDS: Readonly<Record<string, string>> = {
  ...Object.fromEntries(
    ['AuthorizationPolicy', 'RequestAuthentication', 'PeerAuthentication'].map((kind) => [
      `security.istio.io/${kind}`,
      kind,
    ]),
  ),
  ...Object.fromEntries(
    ['Gateway', 'VirtualService', 'DestinationRule', 'ServiceEntry', 'Sidecar', 'EnvoyFilter'].map((kind) => [
      `networking.istio.io/${kind}`,
      kind,
    ]),
  ),
  ...Object.fromEntries(['WasmPlugin', 'TrafficExtension'].map((kind) => [`extensions.istio.io/${kind}`, kind])),
  'gateway.networking.k8s.io/Gateway': 'KubernetesGateway',
  ...Object.fromEntries(
    [
      ...['GatewayClass', 'HTTPRoute', 'GRPCRoute', 'TLSRoute', 'TCPRoute', 'ReferenceGrant', 'ListenerSet'],
      'BackendTLSPolicy',
    ].map((kind) => [`gateway.networking.k8s.io/${kind}`, kind]),
  ),
};

const DEFINITIONS = [
  'manifests/charts/base/files/crd-all.gen.yaml',
  'tests/integration/pilot/testdata/gateway-api-crd.yaml',
];

interface Schema {
  readonly type?: string;
  readonly enum?: readonly string[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly items?: Schema;
  readonly additionalProperties?: Schema;
  readonly 'x-kubernetes-preserve-unknown-fields'?: boolean;
  readonly 'x-kubernetes-int-or-string'?: boolean;
}

interface Definition {
  readonly kind: string;
  readonly spec: {
    readonly group: string;
    readonly names: { readonly kind: string };
    readonly versions: readonly { readonly name: string; readonly schema: { readonly openAPIV3Schema: Schema } }[];
  };
}

/**
 * Locates the Istio module that the lab builds, at the version pinned in lab/tools/istio/go.mod.
 * @param offline do not download it; returns undefined if it is not in Go's module cache or Go is not installed
 */
export function istioModule(offline: boolean): IstioModule | undefined {
  const cwd = fileURLToPath(new URL('../../../lab/tools/istio/', import.meta.url));
  const env = { ...process.env, GOFLAGS: '-mod=readonly', GOWORK: 'off', ...(offline && { GOPROXY: 'off' }) };
  try {
    const answer = execFileSync('go', ['mod', 'download', '-json', 'istio.io/istio'], {
      cwd,
      env,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const { Dir: source, Version: version } = JSON.parse(answer) as { Dir: string; Version: string };
    return { source, version };
  } catch (thrown) {
    if (offline) return undefined;
    throw thrown;
  }
}

/** Renders the generated file. */
export function knownFields({ source, version }: IstioModule): string {
  const shapes = new Map<string, Shape>();
  for (const file of DEFINITIONS) {
    for (const definition of definitionsIn(readFileSync(join(source, file), 'utf8'))) {
      const kind = KINDS[`${definition.spec.group}/${definition.spec.names.kind}`];
      const { versions } = definition.spec;
      const { schema } = versions.find(({ name }) => name === 'v1') ?? versions[0]!;
      const spec = schema.openAPIV3Schema.properties?.spec;
      if (kind !== undefined && spec) shapes.set(kind, toShape(spec));
    }
  }
  const missing = Object.values(KINDS).filter((kind) => !shapes.has(kind));
  if (missing.length > 0) throw new Error(`no CustomResourceDefinition of ${missing.join(', ')}`);
  return print(shapes, version);
}

function definitionsIn(text: string): readonly Definition[] {
  return parseYamlValues(text).filter(
    (one): one is Definition => (one as Definition | null)?.kind === 'CustomResourceDefinition',
  );
}

/** Keeps what the API server checks about types, and omits its bounds and patterns. */
function toShape(schema: Schema): Shape {
  if (schema.enum && schema.type === 'string') return { oneOf: schema.enum };
  if (schema['x-kubernetes-int-or-string']) return 'any';
  switch (schema.type) {
    case 'string':
      return 'text';
    case 'boolean':
      return 'bool';
    case 'integer':
      return 'int';
    case 'number':
      return 'number';
    case 'array':
      return schema.items ? { list: toShape(schema.items) } : 'any';
    case 'object': {
      if (schema.additionalProperties) return { map: toShape(schema.additionalProperties) };
      const members = Object.entries(schema.properties ?? {}).map(([name, member]) => [name, toShape(member)] as const);
      if (members.length === 0) return 'any';
      const shape = Object.fromEntries(members);
      return schema['x-kubernetes-preserve-unknown-fields'] ? { open: shape } : { fields: shape };
    }
    default:
      return 'any';
  }
}

/** Prints each repeated shape as one constant: schemas of routes and traffic policies repeat dozens of times. */
function print(kinds: ReadonlyMap<string, Shape>, version: string): string {
  const uses = new Map<string, number>();
  const countUses = (shape: Shape): void => {
    if (typeof shape === 'string') return;
    const text = JSON.stringify(shape);
    const known = uses.get(text) ?? 0;
    uses.set(text, known + 1);
    if (known === 0) for (const inner of membersOf(shape)) countUses(inner);
  };
  for (const shape of kinds.values()) countUses(shape);
  const names = new Map<string, string>();
  const lines: string[] = [];
  const expression = (shape: Shape): string => {
    if (typeof shape === 'string') return `'${shape}'`;
    const key = JSON.stringify(shape);
    const named = names.get(key);
    if (named !== undefined) return named;
    const text = literal(shape, expression);
    if (uses.get(key) === 1) return text;
    const name = `S${names.size}`;
    names.set(key, name);
    lines.push(`const ${name} = ${text} as const;`);
    return name;
  };
  const entries = [...kinds]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([kind, shape]) => `  ${kind}: ${expression(shape)},`);
  return [
    `// Generated by packages/istio/generate/known-fields.ts from istio.io/istio ${version}. Do not edit.`,
    "import type { Shape } from '../object/shape.ts';",
    '',
    ...lines,
    '',
    '/** Members of `spec`, by kind. */',
    'export const KNOWN_FIELDS = {',
    ...entries,
    '} as const satisfies Readonly<Record<string, Shape>>;',
    '',
  ].join('\n');
}

function membersOf(shape: Exclude<Shape, string>): readonly Shape[] {
  if ('list' in shape) return [shape.list];
  if ('map' in shape) return [shape.map];
  if ('oneOf' in shape) return [];
  return Object.values('fields' in shape ? shape.fields : shape.open);
}

function literal(shape: Exclude<Shape, string>, expression: (shape: Shape) => string): string {
  if ('list' in shape) return `{ list: ${expression(shape.list)} }`;
  if ('map' in shape) return `{ map: ${expression(shape.map)} }`;
  if ('oneOf' in shape) return `{ oneOf: ${JSON.stringify(shape.oneOf)} }`;
  const form = 'fields' in shape ? 'fields' : 'open';
  const members = Object.entries('fields' in shape ? shape.fields : shape.open);
  return `{ ${form}: { ${members.map(([name, inner]) => `${memberName(name)}: ${expression(inner)}`).join(', ')} } }`;
}

function memberName(name: string): string {
  return /^[A-Za-z_]\w*$/.test(name) ? name : JSON.stringify(name);
}

if (import.meta.main) {
  const path = fileURLToPath(new URL('../src/generated/known-fields.ts', import.meta.url));
  writeFileSync(path, knownFields(istioModule(false)!));
}
