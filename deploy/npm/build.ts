/**
 * `npm run build`: what npm publishes. Each package gets a folder `packages/NAME/dist` with JavaScript, declarations, source
 * maps, licence and a package.json whose exports are closed: the entry points that its package.json names. A package that still
 * exports `./*` in the repository publishes what other packages of ours import.
 * The packages with Envoy, one for each processor, go to `dist/envoy-linux-ARCH`; the agent's names them as optional dependencies.
 * In the repository Node runs the TypeScript sources directly; nothing there needs this.
 */
import { execFileSync } from 'node:child_process';
import { copyFileSync, cpSync, existsSync, globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { envoyPackage } from '@meshpass/agent/envoy/release';
import { bundleAgentProcess } from './agent-process.ts';
import { buildEnvoyPackage, ENVOY_ARCHES } from './envoy.ts';

interface PackageJson {
  readonly name: string;
  readonly version: string;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly exports: Readonly<Record<string, string>>;
  readonly bin?: Readonly<Record<string, string>>;
  readonly [member: string]: unknown;
}

interface Entry {
  readonly types: string;
  readonly default: string;
}

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
/** A separate folder, because `dist` also holds what others have built, and may be reading. */
const COMPILED = join(ROOT, 'dist/npm');

rmSync(COMPILED, { recursive: true, force: true });
execFileSync(
  process.execPath,
  [join(ROOT, 'node_modules/typescript/bin/tsc'), '-p', join(ROOT, 'tsconfig.build.json')],
  {
    stdio: 'inherit',
  },
);
const names = globSync('packages/*/package.json', { cwd: ROOT }).map((path) => path.split('/')[1]!);
const packages = new Map(
  names.map((name) => [
    name,
    JSON.parse(readFileSync(join(ROOT, 'packages', name, 'package.json'), 'utf8')) as PackageJson,
  ]),
);
const versions = new Set([...packages.values()].map(({ version }) => version));
if (versions.size !== 1) throw new Error(`The packages have several versions: ${[...versions].join(', ')}`);
const imported = importedPaths();
for (const [name, json] of packages) stage(name, json);
await stageAgentProcess();
rmSync(COMPILED, { recursive: true, force: true });
const [version] = versions as ReadonlySet<string>;
for (const arch of ENVOY_ARCHES) await buildEnvoyPackage(arch, version!);
console.log(
  `Built ${[...packages.values()].map((json) => json.name).join(', ')} ${version}, and Envoy for ${ENVOY_ARCHES.join(', ')}`,
);

/** Paths below the entry point that packages import of one another: `wire` of `identity` for `@meshpass/identity/wire`. */
function importedPaths(): ReadonlyMap<string, ReadonlySet<string>> {
  const paths = new Map(names.map((name) => [name, new Set<string>()]));
  for (const file of globSync('**/*.{js,d.ts}', { cwd: COMPILED })) {
    const text = readFileSync(join(COMPILED, file), 'utf8');
    for (const [, name, path] of text.matchAll(/['"]@meshpass\/([a-z]+)\/([\w/-]+)['"]/g)) paths.get(name!)?.add(path!);
  }
  return paths;
}

function stage(name: string, json: PackageJson): void {
  const dist = join(ROOT, 'packages', name, 'dist');
  rmSync(dist, { recursive: true, force: true });
  mkdirSync(dist, { recursive: true });
  cpSync(join(COMPILED, name, 'src'), join(dist, 'lib'), { recursive: true });
  copyFileSync(join(ROOT, 'LICENSE'), join(dist, 'LICENSE'));
  copyFileSync(join(ROOT, 'packages', name, 'README.md'), join(dist, 'README.md'));
  const data = Object.keys(json.exports).filter((path) => path.endsWith('.json'));
  for (const path of data)
    cpSync(join(ROOT, 'packages', name, path.split('/')[1]!), join(dist, path.split('/')[1]!), {
      recursive: true,
      filter: isData,
    });
  const { devDependencies: _dev, scripts: _scripts, private: _private, ...kept } = json;
  const published = {
    ...kept,
    ...(name === 'agent' && {
      optionalDependencies: Object.fromEntries(ENVOY_ARCHES.map((arch) => [envoyPackage(arch), json.version])),
    }),
    exports: Object.fromEntries<Entry | string>([
      ...entryPoints(name, json),
      ...data.map((path) => [path, json.exports[path]!] as const),
    ]),
    ...(json.bin && {
      bin: Object.fromEntries(Object.entries(json.bin).map(([command, path]) => [command, compiled(path)])),
    }),
    files: ['lib', ...new Set(data.map((path) => path.split('/')[1]!))],
  };
  for (const { types, default: file } of Object.values(published.exports).filter((one) => typeof one === 'object'))
    for (const path of [types, file])
      if (!existsSync(join(dist, path))) throw new Error(`${name} exports ${path}, which is not there`);
  writeFileSync(join(dist, 'package.json'), `${JSON.stringify(published, null, 2)}\n`);
}

async function stageAgentProcess(): Promise<void> {
  const folder = join(ROOT, 'packages/agent/dist/lib/process');
  for (const form of ['js', 'd.ts', 'js.map']) rmSync(join(folder, `daemon-main.${form}`), { force: true });
  await bundleAgentProcess(folder);
}

/** Modules by import path. */
function entryPoints(name: string, { exports }: PackageJson): readonly (readonly [string, Entry])[] {
  const named = Object.entries(exports).filter(([path, source]) => source.endsWith('.ts') && !path.includes('*'));
  const open = Object.hasOwn(exports, './*') ? [...imported.get(name)!].sort() : [];
  return [
    ...named.map(([path, source]) => [path, entry(source.slice('./src/'.length, -'.ts'.length))] as const),
    ...open.map((path) => [`./${path}`, entry(path)] as const),
  ];
}

/** Folders of data have a script that writes them; that is not published. */
function isData(path: string): boolean {
  return !path.endsWith('.ts');
}

function entry(path: string): Entry {
  return { types: `./lib/${path}.d.ts`, default: `./lib/${path}.js` };
}

function compiled(source: string): string {
  return source.replace('./src/', './lib/').replace(/\.ts$/, '.js');
}
