/** Contents of the single executable besides our own code and Node.js. */
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';
import { type BundledPackage, bundledPackages } from '../npm/bundled-packages.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
/** The programs in it: the command, the agent's process, the embedded store's thread, and the process that proves access files. */
const PROGRAMS = [
  'packages/cli/src/executable.ts',
  'packages/cli/src/main.ts',
  'packages/agent/src/process/daemon-main.ts',
  'packages/broker/src/store/pglite-thread.ts',
  'packages/broker/src/admin/policy/prove-main.ts',
];

/** The npm packages whose modules the bundler puts into the executable. */
export async function packagesOfExecutable(): Promise<readonly BundledPackage[]> {
  const modules = new Set<string>();
  for (const input of PROGRAMS) {
    const build = await rolldown({ input, cwd: ROOT, platform: 'node', logLevel: 'silent' });
    const { output } = await build.generate({ format: 'esm', codeSplitting: false });
    await build.close();
    for (const path of Object.keys(output[0].modules)) modules.add(path);
  }
  return bundledPackages(modules);
}
