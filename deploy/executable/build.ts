/**
 * `npm run build:executable [-- --arch arm64]`: `meshpass` as one file that needs no Node.js on the machine, for Linux on the
 * processor named (by default the one it is built on), with Envoy beside it, in `dist/meshpass-linux-ARCH/`. Node.js's own
 * single-executable form (nodejs.org, "Single executable applications").
 * Envoy is not within it: it would be written to the disk before each start, and lint, plan and serve do not need it.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { ENGINE_FILES } from '@meshpass/broker/store/pglite-files';
import { rolldown } from 'rolldown';
import { copyEnvoy, ENVOY_ARCHES } from '../npm/envoy.ts';
import { nodeFor } from './node-binary.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const PGLITE = join(ROOT, 'node_modules/@electric-sql/pglite/dist');
const { arch } = parseArgs({ options: { arch: { type: 'string', default: process.arch } } }).values;
const envoyArch = ENVOY_ARCHES.find((one) => one === arch);
if (!envoyArch) throw new Error(`There is no Envoy for --arch ${arch}: ${ENVOY_ARCHES.join(', ')}`);
const folder = join(ROOT, `dist/meshpass-linux-${arch}`);
const output = join(folder, 'meshpass');
const work = mkdtempSync(join(tmpdir(), 'meshpass-executable-'));
try {
  const thread = join(work, ENGINE_FILES[0]);
  await bundle('packages/broker/src/store/pglite-thread.ts', thread);
  const main = join(work, 'meshpass.mjs');
  await bundle('packages/cli/src/executable.ts', main);
  const assets = ENGINE_FILES.map((name) => [name, name === basename(thread) ? thread : join(PGLITE, name)] as const);
  const config = {
    main: basename(main),
    mainFormat: 'module',
    executable: nodeFor(arch, work),
    output,
    assets: Object.fromEntries(assets),
    // Compiled code is the processor's.
    useCodeCache: arch === process.arch,
    disableExperimentalSEAWarning: true,
  };
  const configFile = join(work, 'sea.json');
  writeFileSync(configFile, JSON.stringify(config));
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  // The same bytes from each build: the name of `main` and the order of what V8 compiled are in the file. V8 takes a new seed at each start.
  execFileSync(process.execPath, ['--random-seed=1', `--build-sea=${configFile}`], {
    cwd: work,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  await copyEnvoy(envoyArch, join(folder, 'envoy'), folder);
  console.log(`Built ${output.slice(ROOT.length)}, ${Math.round(statSync(output).size / 1e6)} MB`);
} finally {
  rmSync(work, { recursive: true, force: true });
}

/** One file with everything in it; modules that are imported dynamically run only when they are. */
async function bundle(input: string, file: string): Promise<void> {
  const build = await rolldown({ input, cwd: ROOT, platform: 'node', logLevel: 'silent' });
  await build.write({ file, format: 'esm', codeSplitting: false });
  await build.close();
}
