/**
 * `npm run structure`, part of `npm run check`: the shape of the code, held to rules that a reader can rely on.
 *   - imports go downward between packages, and never in a circle: not between files, not between the rooms of a package; what users
 *     install imports no test
 *   - a part of the broker is imported through its index, which has at most 25 names for the other parts
 *   - no file has more than 500 lines, no folder more than 20 files
 *   - comments and messages of what users install avoid the phrases of words.txt
 *   - tests have no fixed sleeps and no short deadlines, except those of waits.txt (waits.ts)
 * A room is a folder directly under `src`; a file directly under `src` is a room of its own. Type imports count.
 * Prints one line for each violation, and exits with 1 if there is any.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findCircles, type Graph } from './circles.ts';
import { namesOf, specifiersOf } from './imports.ts';
import { partViolations } from './parts.ts';
import { findWaits, readAllowedWaits, waitViolations } from './waits.ts';
import { findPhrases, readPhrases } from './words.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const MAX_LINES = 500;
const MAX_FILES = 20;

/** Packages that a package may import, besides itself. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  identity: [],
  istio: ['identity'],
  access: ['identity', 'istio'],
  analysis: ['identity', 'istio', 'access'],
  envoy: ['identity'],
  broker: ['identity', 'istio', 'access', 'analysis', 'envoy'],
  edge: ['identity'],
  agent: ['identity', 'envoy'],
  cli: ['identity', 'istio', 'access', 'analysis', 'envoy', 'broker', 'edge', 'agent'],
};

/** Packages that are cut into parts (parts.ts), by the folder of their parts. */
const PARTED = ['packages/broker/src/'];

/** Folders with one file for each rule, case or decision. */
const WIDE_FOLDERS = /^(packages\/analysis\/(src\/lint\/rules|test\/lint\/corpus)|docs\/decisions)$/;
const GENERATED = /\/generated\//;

/** Exports by package: each package.json is read once. */
const EXPORTS = new Map<string, Readonly<Record<string, string>>>();

const files = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], {
  cwd: ROOT,
  encoding: 'utf8',
})
  .split('\n')
  .filter((file) => file !== '' && existsSync(join(ROOT, file)));
const sources = files.filter((file) => file.endsWith('.ts') && !GENERATED.test(file));
const imports = new Map(sources.map((file) => [file, importsOf(file)]));
const violations = [
  ...longFiles(),
  ...wideFolders(),
  ...upwardImports(),
  ...circles(),
  ...parts(),
  ...phrases(),
  ...waits(),
];
for (const violation of violations) console.error(violation);
if (violations.length > 0) process.exitCode = 1;
else console.log(`Structure: ${sources.length} files, no circles, no upward imports.`);

function longFiles(): string[] {
  return sources.flatMap((file) => {
    const lines = readFileSync(join(ROOT, file), 'utf8').trimEnd().split('\n').length;
    return lines > MAX_LINES ? [`${file}: ${lines} lines; at most ${MAX_LINES}. Split it along its subjects.`] : [];
  });
}

function phrases(): string[] {
  const list = readPhrases(new URL('words.txt', import.meta.url));
  return sources.filter(isProduct).flatMap((file) => findPhrases(file, readFileSync(join(ROOT, file), 'utf8'), list));
}

function waits(): string[] {
  const found = sources.filter(isTest).flatMap((file) => findWaits(file, readFileSync(join(ROOT, file), 'utf8')));
  return [...waitViolations(found, readAllowedWaits(new URL('waits.txt', import.meta.url)))];
}

function wideFolders(): string[] {
  const count = new Map<string, number>();
  for (const file of files) count.set(dirname(file), (count.get(dirname(file)) ?? 0) + 1);
  return [...count].flatMap(([folder, number]) =>
    number > MAX_FILES && !WIDE_FOLDERS.test(folder) && !GENERATED.test(`${folder}/`)
      ? [`${folder}: ${number} files; at most ${MAX_FILES}. Give it folders by subject.`]
      : [],
  );
}

function upwardImports(): string[] {
  return [...imports].flatMap(([file, targets]) => {
    const from = packageOf(file);
    if (from !== undefined && !MAY_IMPORT[from]) return [`${file}: ${from} is a new package: say what it may import.`];
    return targets.flatMap((target) => {
      if (!existsSync(join(ROOT, target))) return [`${file}: imports ${target}, which does not exist.`];
      const product = isProduct(file);
      if ((product || file.startsWith('lab/src/')) && /^(test|[a-z]+\/test|packages\/[^/]+\/test)\//.test(target))
        return [`${file}: imports ${target}, a test.`];
      if (!product) return [];
      const to = packageOf(target);
      if (to !== from && !(to && MAY_IMPORT[from!]?.includes(to)))
        return [
          `${file}: imports ${target}; ${from} may import ${MAY_IMPORT[from!]?.join(', ') || 'no other package'}.`,
        ];
      return [];
    });
  });
}

/** Whether it is of what users install. */
function isProduct(file: string): boolean {
  return /^packages\/[^/]+\/src\//.test(file);
}

function isTest(file: string): boolean {
  return /^(packages\/[^/]+\/|lab\/)?test\//.test(file);
}

function parts(): string[] {
  return PARTED.flatMap((folder) => {
    const own = sources.filter((file) => file.startsWith(folder));
    const named = own.flatMap((file) =>
      namesOf(file, readFileSync(join(ROOT, file), 'utf8')).flatMap(({ specifier, name }) => {
        const to = resolve(file, specifier);
        return to?.startsWith(folder) ? [{ from: below(folder, file), to: below(folder, to), name }] : [];
      }),
    );
    // Imports that are no static ones: of types, of modules that are loaded later, and of programs to start.
    const others = own.flatMap((file) =>
      imports.get(file)!.flatMap((to) => {
        const [from, target] = [below(folder, file), below(folder, to)];
        const isNamed = named.some((one) => one.from === from && one.to === target);
        return to.startsWith(folder) && !isNamed ? [{ from, to: target, name: undefined }] : [];
      }),
    );
    return partViolations([...named, ...others]).map((violation) => `${folder}${violation}`);
  });
}

function below(folder: string, file: string): string {
  return file.slice(folder.length);
}

function circles(): string[] {
  const product = [...imports].filter(([file]) => isProduct(file));
  const between = (name: (file: string) => string): Graph => {
    const graph = new Map<string, Set<string>>();
    for (const [file, targets] of product) {
      const reached = graph.get(name(file)) ?? new Set();
      for (const target of targets) if (name(target) !== name(file)) reached.add(name(target));
      graph.set(name(file), reached);
    }
    return graph;
  };
  return [
    ...findCircles(new Map([...imports].map(([file, targets]) => [file, new Set(targets)]))).map(
      (circle) => `${circle[0]}: circle of imports: ${circle.join(' -> ')}`,
    ),
    ...findCircles(between(roomOf)).map((circle) => `${circle[0]}: circle of rooms: ${circle.join(' -> ')}`),
  ];
}

function packageOf(file: string): string | undefined {
  return /^packages\/([^/]+)\//.exec(file)?.[1];
}

/** `packages/broker/src/core/session` of any file in it. */
function roomOf(file: string): string {
  return file.split('/').slice(0, 4).join('/');
}

/** The files of this repository that a file imports, by their paths. */
function importsOf(file: string): readonly string[] {
  const onComputed = (line: number) => {
    if (isProduct(file)) throw new Error(`${file}:${line}: the module of an import must be a literal`);
  };
  return specifiersOf(file, readFileSync(join(ROOT, file), 'utf8'), onComputed).flatMap((specifier) => {
    const target = resolve(file, specifier);
    return target === undefined || target === file ? [] : [target];
  });
}

function resolve(file: string, specifier: string): string | undefined {
  if (specifier.startsWith('.')) return normalize(join(dirname(file), specifier));
  const [, name, path] = /^@meshpass\/([^/]+)(?:\/(.+))?$/.exec(specifier) ?? [];
  if (name === undefined) return undefined;
  const folder = name === 'lab' ? 'lab' : `packages/${name}`;
  const exports = exportsOf(folder);
  const entry = exports[path === undefined ? '.' : `./${path}`] ?? exports['./*']?.replace('*', path!);
  if (entry === undefined)
    throw new Error(`${file} imports ${specifier}, which ${folder}/package.json does not export`);
  return normalize(join(folder, entry));
}

function exportsOf(folder: string): Readonly<Record<string, string>> {
  const known = EXPORTS.get(folder);
  if (known) return known;
  const { exports } = JSON.parse(readFileSync(join(ROOT, folder, 'package.json'), 'utf8')) as {
    readonly exports: Readonly<Record<string, string>>;
  };
  EXPORTS.set(folder, exports);
  return exports;
}
