/**
 * Everything the lab runs that is not in this repository: found, or else installed and built once per user and version,
 * and kept in `$XDG_CACHE_HOME/meshpass/lab` (or `~/.cache/meshpass/lab`).
 */
import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { LabError } from '../error.ts';
import { ensureBrowser, ensureCommands, ensureNodeCommands } from './debian.ts';
import { envoyIn, installEnvoy } from './envoy.ts';
import {
  buildClusterTools,
  buildGoTools,
  buildHelm,
  buildIstioctl,
  buildKubectl,
  buildZitadelOidc,
  type ClusterGoTools,
  copyGatewayApi,
  type GoTools,
} from './go.ts';
import { requireMachine } from './machine.ts';
import { buildWaypointIstiod } from './waypoint-istiod.ts';

export interface Tools extends GoTools {
  readonly envoy: string;
  /** Directory of initdb and postgres. */
  readonly postgresBin: string;
  /** Version of each part, for people and for the record of benchmarks. */
  readonly versions: Readonly<Record<string, string>>;
}

/**
 * @param progress gets a line for each step that takes time
 * @throws LabError `lab_unsupported` on a machine that cannot run the lab, `lab_install` when a step fails
 */
export async function ensureTools(progress: (line: string) => void): Promise<Tools> {
  const cache = cacheFolder();
  const postgresBin = await ensureSystem(progress);
  const [envoy, go] = await Promise.all([installEnvoy(cache, progress), buildGoTools(cache, progress)]);
  return { ...go, envoy: envoy.path, postgresBin, versions: { ...go.versions, envoy: envoy.version } };
}

/** Tools of a cluster: the lab's and more. */
export interface ClusterTools extends Tools {
  readonly cluster: ClusterGoTools;
}

/**
 * @param progress gets a line for each step that takes time
 * @throws LabError as `ensureTools` does
 */
export async function ensureClusterTools(progress: (line: string) => void): Promise<ClusterTools> {
  await ensureClusterSystem(progress);
  const tools = await ensureTools(progress);
  const cluster = await buildClusterTools(cacheFolder(), progress);
  return { ...tools, cluster, versions: { ...tools.versions, ...cluster.versions } };
}

/** The commands of the system alone, for a cluster. @throws LabError as `ensureTools` does */
export async function ensureClusterSystem(progress: (line: string) => void): Promise<void> {
  await ensureSystem(progress);
  await ensureNodeCommands(progress);
}

/** The commands of the system alone. @returns directory of initdb and postgres. @throws LabError as `ensureTools` does */
export async function ensureSystem(progress: (line: string) => void): Promise<string> {
  requireMachine();
  const postgres = await ensureCommands(progress);
  await ensureBrowser(progress);
  return postgres;
}

/** Envoy alone, for tests that need no mesh. @throws LabError `lab_install` when its installation fails */
export async function ensureEnvoy(progress: (line: string) => void): Promise<string> {
  return (await installEnvoy(cacheFolder(), progress)).path;
}

/** Path of the Envoy that the lab has installed. */
export function installedEnvoy(): string {
  return envoyIn(cacheFolder());
}

/** File of Gateway API's CustomResourceDefinitions, a JSON array. @throws LabError `lab_install` */
export function ensureGatewayApi(progress: (line: string) => void): Promise<string> {
  return copyGatewayApi(cacheFolder(), progress);
}

/** Programs of ambient mode, in addition to the lab's. */
export interface AmbientTools {
  readonly istiod: string;
  readonly ztunnel: string;
}

/**
 * ztunnel is written in Rust, which the lab does not install: `MESHPASS_ZTUNNEL` is the path of its binary.
 * @throws LabError `lab_unsupported` without that, `lab_install` when the build of istiod fails
 */
export async function ensureAmbient(progress: (line: string) => void): Promise<AmbientTools> {
  const ztunnel = process.env.MESHPASS_ZTUNNEL;
  if (!ztunnel || !existsSync(ztunnel))
    throw new LabError(
      'lab_unsupported',
      'Ambient mode needs a ztunnel, and MESHPASS_ZTUNNEL is no path of one. lab/README.md describes how to build it.',
    );
  return { istiod: await buildWaypointIstiod(cacheFolder(), progress), ztunnel };
}

/** `istioctl`, for benchmarks that compare with it. @throws LabError `lab_install` when its build fails */
export function ensureIstioctl(progress: (line: string) => void): Promise<string> {
  return buildIstioctl(cacheFolder(), progress);
}

/** `kubectl`, as people use it in workspaces. @throws LabError `lab_install` when its build fails */
export function ensureKubectl(progress: (line: string) => void): Promise<string> {
  return buildKubectl(cacheFolder(), progress);
}

/** `helm`, which renders and installs the chart. @throws LabError `lab_install` when its build fails */
export function ensureHelm(progress: (line: string) => void): Promise<string> {
  return buildHelm(cacheFolder(), progress);
}

/** The second identity provider (`lab/src/oidc/zitadel.ts`). @throws LabError `lab_install` when its build fails */
export function ensureZitadelOidc(progress: (line: string) => void): Promise<string> {
  return buildZitadelOidc(cacheFolder(), progress);
}

/** Folder that keeps built and installed tools. */
export function cacheFolder(): string {
  return join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'meshpass', 'lab');
}
