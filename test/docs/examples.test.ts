/**
 * The documented examples run: of every function that istio, access and analysis export, and of their READMEs. An example is a
 * module; where an expression is followed by `// => VALUE`, it must equal that value.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';

interface Example {
  readonly name: string;
  readonly code: string | undefined;
}

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const folder = mkdtempSync(join(ROOT, 'test/docs/.examples-'));
const LIBRARIES = ['istio', 'access', 'analysis'];

describe.each(LIBRARIES)('@meshpass/%s', (library) => {
  const directory = join(ROOT, 'packages', library);
  const { exports } = JSON.parse(readFileSync(join(directory, 'package.json'), 'utf8')) as {
    readonly exports: Readonly<Record<string, string>>;
  };
  const entries = Object.values(exports).filter((path) => path.endsWith('.ts') && !path.includes('*'));
  const functions = new Map(entries.flatMap((path) => exportedFunctions(join(directory, path))));
  const readme = codeBlocks(readFileSync(join(directory, 'README.md'), 'utf8'));
  const examples: readonly Example[] = [
    ...[...functions].map(([name, code]) => ({ name, code })),
    ...readme.map((code, index) => ({ name: `README, example ${index + 1}`, code })),
  ];
  const written = new Map(
    examples.flatMap(({ name, code }) => (code === undefined ? [] : [[name, write(library, name, code)] as const])),
  );

  it('has closed entry points', () => {
    expect(Object.keys(exports).filter((path) => path.includes('*') && !path.endsWith('.json'))).toEqual([]);
    expect(readme).not.toEqual([]);
  });

  it('has an example of every function', () => {
    expect(examples.filter(({ code }) => code === undefined).map(({ name }) => name)).toEqual([]);
  });

  it('has examples with correct types', () => {
    typecheck(join(folder, library));
  });

  it.each([...written])('shows %s as it works', async (_, path) => {
    await import(path);
  });
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Functions that a module exports, itself or from others, each with the code of its example. */
function exportedFunctions(path: string): readonly (readonly [string, string | undefined])[] {
  const text = readFileSync(path, 'utf8');
  const own = [...text.matchAll(/(?:\/\*\*((?:(?!\*\/)[\s\S])*)\*\/\n)?export (?:async )?function\*? (\w+)/g)].map(
    ([, comment, name]) => [name!, codeBlocks(uncomment(comment ?? ''))[0]] as const,
  );
  const named = [...text.matchAll(/export \{([^}]*)\} from '([^']*)'/g)].flatMap(([, names, from]) => {
    const wanted = names!.split(',').map((name) => name.trim());
    return exportedFunctions(join(dirname(path), from!)).filter(([name]) => wanted.includes(name));
  });
  const all = [...text.matchAll(/export \* from '([^']*)'/g)].flatMap(([, from]) =>
    exportedFunctions(join(dirname(path), from!)),
  );
  return [...own, ...named, ...all];
}

function uncomment(comment: string): string {
  return comment.replace(/^[ \t]*\* ?/gm, '');
}

function codeBlocks(text: string): readonly string[] {
  return [...text.matchAll(/^```ts\n([\s\S]*?)^```/gm)].map(([, code]) => code!);
}

/** @returns the file of the example as a module that fails if a value differs */
function write(library: string, name: string, code: string): string {
  const path = join(folder, library, `${name.replace(/\W+/g, '-')}.ts`);
  const body = code.replace(/^(?!import |const |\/\/)(.+?);?(?: |\n)\/\/ => (.+)$/gm, 'assert.deepEqual($1, $2);');
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, `import assert from 'node:assert/strict';\n${body}\nassert.ok(true);\n`);
  return path;
}

function typecheck(directory: string): void {
  const compilerOptions = { incremental: false };
  const options = { extends: join(ROOT, 'tsconfig.json'), compilerOptions, include: ['./*.ts'] };
  writeFileSync(join(directory, 'tsconfig.json'), JSON.stringify(options));
  try {
    execFileSync(process.execPath, [join(ROOT, 'node_modules/typescript/bin/tsc'), '-p', directory], { stdio: 'pipe' });
  } catch (thrown) {
    throw new Error((thrown as { readonly stdout: Buffer }).stdout.toString());
  }
}
