/** Finds the Envoy binary to run: the configured one, the one shipped with Meshpass, or one on the PATH. */
import { execFile } from 'node:child_process';
import { accessSync, constants, realpathSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { delimiter, dirname, isAbsolute, join } from 'node:path';
import { isSea } from 'node:sea';
import { promisify } from 'node:util';
import { MeshpassError } from '@meshpass/identity';
import { ENVOY_VERSION, envoyPackage } from './release.ts';

export interface EnvoyBinary {
  readonly path: string;
  /** The version of Envoy, such as `1.40.0`. */
  readonly version: string;
}

/** The location of the Meshpass installation. */
export interface Installation {
  /** The path to Meshpass itself, if it runs as a single executable. The `envoy` binary is located next to it. */
  readonly executable?: string;
  /** A file path or URL from which Envoy's npm package can be resolved. */
  readonly module?: string;
}

/** The release series that Meshpass requires, such as `1.40.`. All of its patch releases have the same API. */
const SERIES = ENVOY_VERSION.replace(/[0-9]+$/, '');
/** How long Envoy may take to print its version, in milliseconds. */
const TIMEOUT = 10_000;
const ADVICE =
  `Install the package ${envoyPackage('x64')} or ${envoyPackage('arm64')} next to Meshpass, put Envoy ` +
  `${SERIES}x on the PATH, or set MESHPASS_ENVOY to its path.`;

/**
 * Finds an Envoy binary and checks its version.
 * @param configured the path from `MESHPASS_ENVOY`. If it is set, no other path is tried
 * @param env the environment variables. Only `PATH` is used
 * @throws MeshpassError `agent_envoy_missing` if no binary is found or its version is not supported
 */
export async function findEnvoy(
  configured: string | undefined,
  env: Readonly<Record<string, string | undefined>>,
  installation: Installation = ours(),
): Promise<EnvoyBinary> {
  const path = configured ?? besideExecutable(installation) ?? inPackage(installation) ?? onPath(env.PATH ?? '');
  if (path === undefined) throw missing(`Envoy is not installed. ${ADVICE}`);
  const version = await versionOf(path);
  if (!version.startsWith(SERIES))
    throw missing(`${path} is Envoy ${version}, but Meshpass requires ${SERIES}x. ${ADVICE}`);
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

/** Searches the PATH for Envoy. Relative directories, including the working directory, are skipped. */
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
    throw missing(`Cannot run ${path} (${typeof why === 'string' ? why : 'it failed'}). ${ADVICE}`, cause);
  }
  const version = /version: [0-9a-f]+\/([0-9]+\.[0-9]+\.[0-9]+)/.exec(output)?.[1];
  if (version === undefined) throw missing(`${path} does not identify itself as Envoy. ${ADVICE}`);
  return version;
}

function missing(message: string, cause?: unknown): MeshpassError {
  return new MeshpassError('agent_envoy_missing', message, { cause });
}
