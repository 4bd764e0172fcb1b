/**
 * `npm run build:executable [-- --arch arm64] [--fresh]`: `meshpass` as one file that needs no Node.js on the machine, for Linux on the
 * processor named (by default the one it is built on), with Envoy beside it, in `dist/meshpass-linux-ARCH/`. Node.js's own
 * single-executable form (nodejs.org, "Single executable applications").
 * Envoy is not within it: it would be written to the disk before each start, and lint, plan and serve do not need it.
 */
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { EnvoyArch } from '@meshpass/agent/envoy/release';
import { AGENT_NODE_OPTIONS } from '@meshpass/agent/process/launch';
import { PROVE_NODE_OPTIONS } from '@meshpass/broker/admin/policy/proof';
import { ENGINE_FILES } from '@meshpass/broker/store/pglite';
import { rolldown } from 'rolldown';
import { copyEnvoy, ENVOY_ARCHES } from '../npm/envoy.ts';
import { type Embeddable, embed } from './embed.ts';
import { keepBuild } from './kept.ts';
import { nodeFor } from './node-binary.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const PGLITE = join(ROOT, 'node_modules/@electric-sql/pglite/dist');
/** Each runs with options of its own, which its compiled code depends on. */
const PROGRAMS: readonly Embeddable[] = [
  { name: 'command', input: 'packages/cli/src/main.ts', nodeOptions: [] },
  { name: 'agent', input: 'packages/agent/src/process/daemon-main.ts', nodeOptions: AGENT_NODE_OPTIONS },
  { name: 'prove', input: 'packages/broker/src/admin/policy/prove-main.ts', nodeOptions: PROVE_NODE_OPTIONS },
];
const { arch, fresh } = parseArgs({
  options: { arch: { type: 'string', default: process.arch }, fresh: { type: 'boolean', default: false } },
}).values;
const envoyArch = ENVOY_ARCHES.find((one) => one === arch);
if (!envoyArch) throw new Error(`There is no Envoy for --arch ${arch}: ${ENVOY_ARCHES.join(', ')}`);
const folder = join(ROOT, `dist/meshpass-linux-${arch}`);
const output = join(folder, 'meshpass');
const name = basename(folder);
const built = await keepBuild({ name, sources: [], settings: [arch], outputs: [folder] }, fresh, () =>
  build(envoyArch),
);
const how = built ? 'Built' : 'Kept from the same sources';
console.log(`${how}: ${output.slice(ROOT.length)}, ${Math.round(statSync(output).size / 1e6)} MB`);

async function build(envoyArch: EnvoyArch): Promise<void> {
  const work = mkdtempSync(join(tmpdir(), 'meshpass-executable-'));
  try {
    const thread = join(work, ENGINE_FILES[0]);
    await bundle('packages/broker/src/store/pglite-thread.ts', thread, 'es');
    const main = join(work, 'meshpass.cjs');
    await bundle('packages/cli/src/executable.ts', main, 'cjs');
    const engine = ENGINE_FILES.map((name) => [name, name === basename(thread) ? thread : join(PGLITE, name)] as const);
    const programs = await Promise.all(PROGRAMS.map((program) => embed(program, work, arch)));
    const built = join(work, 'meshpass');
    const config = {
      main: basename(main),
      executable: nodeFor(arch, work),
      output: built,
      assets: Object.fromEntries([...engine, ...programs.flat()]),
      disableExperimentalSEAWarning: true,
    };
    const configFile = join(work, 'sea.json');
    writeFileSync(configFile, JSON.stringify(config));
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true });
    // The same bytes from each build: the name of `main` is in the file.
    execFileSync(process.execPath, [`--build-sea=${configFile}`], {
      cwd: work,
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    // Node.js writes it at once. The kernel then caches it in large pieces, which each process maps as a whole: 35 MB more of RSS.
    copyFileSync(built, output);
    await copyEnvoy(envoyArch, join(folder, 'envoy'), folder);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** Single file with all modules; dynamically imported modules run only when they are imported. */
async function bundle(input: string, file: string, format: 'es' | 'cjs'): Promise<void> {
  const build = await rolldown({ input, cwd: ROOT, platform: 'node', logLevel: 'silent' });
  await build.write({ file, format, codeSplitting: false });
  await build.close();
}
