/** A program as the single executable holds it: its code as one script, and what V8 compiled of it. */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';
import { ascii } from '../npm/agent-process.ts';

export interface Embeddable {
  /** Names of its assets: `NAME.cjs`, `NAME.cache`. */
  readonly name: string;
  /** Path in the repository. */
  readonly input: string;
  /** Options of Node.js that it runs with: V8 refuses code that was compiled under others. */
  readonly nodeOptions: readonly string[];
}

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const HASHBANG = /^#!.*/;

/**
 * Compiles only the code that runs at once: code that is called later, most of the program, would only make the file larger.
 * Arguments: the script, and where to write.
 */
const COMPILE = `
const { readFileSync, writeFileSync } = require('node:fs');
const { Script } = require('node:vm');
const [source, target] = process.argv.slice(1);
writeFileSync(target, new Script(readFileSync(source, 'latin1'), { filename: 'program' }).createCachedData());`;

/** @returns name and path of each asset; without compiled code for another processor than the one that builds */
export async function embed(
  { name, input, nodeOptions }: Embeddable,
  folder: string,
  arch: string,
): Promise<readonly (readonly [string, string])[]> {
  const build = await rolldown({ input, cwd: ROOT, platform: 'node', logLevel: 'silent' });
  const { output } = await build.generate({ format: 'cjs', codeSplitting: false, minify: true });
  await build.close();
  const source = join(folder, `${name}.cjs`);
  writeFileSync(source, `(function (require, __filename) {${ascii(output[0].code.replace(HASHBANG, ''))}\n})`);
  const assets = [[`${name}.cjs`, source] as const];
  if (arch !== process.arch) return assets;
  const cache = join(folder, `${name}.cache`);
  // The same bytes from each build: V8 takes a new seed at each start.
  execFileSync(process.execPath, [...nodeOptions, '--random-seed=1', '-e', COMPILE, source, cache]);
  return [...assets, [`${name}.cache`, cache]];
}
