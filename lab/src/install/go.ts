/**
 * Kubernetes, etcd and Istio, built from source as ordinary Go modules (`lab/tools/*`): the Go checksum database vouches
 * for every byte, and no container image is needed. Each module is built once and kept under the digest of its go.mod, go.sum and sources.
 */
import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { must } from '../run.ts';
import {
  CLUSTER_MODULES,
  copyGatewayApiCrds,
  GATEWAY_API_CRDS,
  HELM,
  ISTIOCTL,
  KUBECTL,
  MODULES,
  type Module,
  ZITADEL_OIDC,
} from './go-modules.ts';
import { fillOnce } from './once.ts';

export interface GoTools {
  readonly etcd: string;
  readonly kubeApiserver: string;
  readonly kubeControllerManager: string;
  readonly istiod: string;
  readonly pilotAgent: string;
  /** Istio's bootstrap template for Envoy. */
  readonly envoyBootstrap: string;
  /** Istio's CustomResourceDefinitions, a JSON array. */
  readonly istioCrds: string;
  readonly versions: Readonly<Record<string, string>>;
}

export const TOOLS = fileURLToPath(new URL('../../tools/', import.meta.url));

export interface ClusterGoTools {
  readonly kubelet: string;
  readonly kubeScheduler: string;
  readonly kubeProxy: string;
  readonly kubectl: string;
  readonly helm: string;
  /** Applies, corrects and prunes what a folder of a Git repository has. */
  readonly gitopsAgent: string;
  readonly coredns: string;
  readonly kubeRouter: string;
  /** Istio's charts: `base` and `istio-discovery`, and `gateway`. */
  readonly istioCharts: string;
  readonly versions: Readonly<Record<string, string>>;
}

/** Folders of Istio's module that hold its charts. */
const ISTIO_CHARTS = ['base', 'istio-control/istio-discovery', 'gateway'] as const;

/**
 * etcd first: it is the smallest, and compiles the standard library for all. The sources of the others are fetched at the same time;
 * then they are built side by side, because a linker uses one core.
 * @throws LabError `lab_install` with the compiler's last lines
 */
export async function buildGoTools(cache: string, progress: (line: string) => void): Promise<GoTools> {
  const home: Record<string, string> = {};
  const versions: Record<string, string> = {};
  const ensure = async (module: Module, after?: Promise<unknown>) => {
    const version = await versionOf(module);
    versions[module.home] = version;
    home[module.home] = await buildOnce(module, cache, version, progress, after);
  };
  const [first, ...others] = MODULES;
  const built = ensure(first!);
  await Promise.all([built, ...others.map((module) => ensure(module, built))]);
  return {
    etcd: join(home.etcd ?? '', 'etcd'),
    kubeApiserver: join(home.kubernetes ?? '', 'kube-apiserver'),
    kubeControllerManager: join(home.kubernetes ?? '', 'kube-controller-manager'),
    istiod: join(home.istio ?? '', 'pilot-discovery'),
    pilotAgent: join(home.istio ?? '', 'pilot-agent'),
    envoyBootstrap: join(home.istio ?? '', 'envoy_bootstrap.json'),
    istioCrds: join(home.istio ?? '', 'crds.json'),
    versions,
  };
}

/**
 * Builds a cluster's programs besides the lab's tools, side by side.
 * @throws LabError `lab_install` with the compiler's last lines
 */
export async function buildClusterTools(cache: string, progress: (line: string) => void): Promise<ClusterGoTools> {
  const home: Record<string, string> = {};
  const versions: Record<string, string> = {};
  await Promise.all(
    CLUSTER_MODULES.map(async (module) => {
      const version = await versionOf(module);
      versions[module.home] = version;
      home[module.home] = await buildOnce(module, cache, version, progress);
    }),
  );
  const node = (binary: string): string => join(home.node ?? '', binary);
  return {
    kubelet: node('kubelet'),
    kubeScheduler: node('kube-scheduler'),
    kubeProxy: node('kube-proxy'),
    kubectl: node('kubectl'),
    helm: join(home.helm ?? '', 'helm'),
    gitopsAgent: join(home['gitops-engine'] ?? '', 'gitops-agent'),
    coredns: join(home.coredns ?? '', 'coredns'),
    kubeRouter: join(home['kube-router'] ?? '', 'kube-router'),
    istioCharts: await copyIstioCharts(cache, progress),
    versions,
  };
}

/** @returns folder with a chart in each of its folders */
async function copyIstioCharts(cache: string, progress: (line: string) => void): Promise<string> {
  const copy = async (source: string, work: string): Promise<void> => {
    // Modules are kept read-only.
    for (const chart of ISTIO_CHARTS)
      await must(['cp', '-r', '--no-preserve=mode', join(source, 'manifests/charts', chart), work], 'lab_install');
  };
  return copyFromIstio('istio-charts', copy, cache, progress);
}

/** @returns path of Gateway API's CustomResourceDefinitions, a JSON array. @throws LabError `lab_install` */
export async function copyGatewayApi(cache: string, progress: (line: string) => void): Promise<string> {
  return join(await copyFromIstio('gateway-api', copyGatewayApiCrds, cache, progress), GATEWAY_API_CRDS);
}

/** @returns folder of the cache with what `copy` took from the source of Istio's module */
async function copyFromIstio(
  name: string,
  copy: (source: string, work: string) => Promise<void>,
  cache: string,
  progress: (line: string) => void,
): Promise<string> {
  const folder = join(TOOLS, ISTIOCTL.folder);
  const home = join(cache, `${name}-${await digestOf(folder)}`);
  const fill = async (work: string): Promise<string> => {
    const options = { cwd: folder, env: goEnvironment() };
    await must(['go', 'mod', 'download', 'istio.io/istio'], 'lab_install', options);
    const source = await must(['go', 'list', '-m', '-f', '{{.Dir}}', 'istio.io/istio'], 'lab_install', options);
    await copy(source.trim(), work);
    return work;
  };
  await fillOnce(home, fill, progress);
  return home;
}

/** @returns path of `istioctl`. @throws LabError `lab_install` with the compiler's last lines */
export async function buildIstioctl(cache: string, progress: (line: string) => void): Promise<string> {
  return join(await buildOnce(ISTIOCTL, cache, await versionOf(ISTIOCTL), progress), 'istioctl');
}

/** @returns path of `kubectl`. @throws LabError `lab_install` with the compiler's last lines */
export async function buildKubectl(cache: string, progress: (line: string) => void): Promise<string> {
  return join(await buildOnce(KUBECTL, cache, await versionOf(KUBECTL), progress), 'kubectl');
}

/** @returns path of `helm`. @throws LabError `lab_install` with the compiler's last lines */
export async function buildHelm(cache: string, progress: (line: string) => void): Promise<string> {
  return join(await buildOnce(HELM, cache, await versionOf(HELM), progress), 'helm');
}

/** @returns path of the lab's second identity provider. @throws LabError `lab_install` with the compiler's last lines */
export async function buildZitadelOidc(cache: string, progress: (line: string) => void): Promise<string> {
  return join(await buildOnce(ZITADEL_OIDC, cache, await versionOf(ZITADEL_OIDC), progress), 'zitadel-oidc');
}

async function buildOnce(
  module: Module,
  cache: string,
  version: string,
  progress: (line: string) => void,
  after?: Promise<unknown>,
): Promise<string> {
  const name = module.home;
  const home = join(cache, `${name}-${await digestOf(join(TOOLS, module.folder), flagsOf(module, version))}`);
  const fill = async (work: string): Promise<string> => {
    await fetchSources(module);
    await after;
    progress(`building ${name} ${version} (once, ${module.minutes})`);
    await build(module, version, work);
    progress(`built ${name}`);
    return work;
  };
  await fillOnce(home, fill, progress);
  return home;
}

/** Linker flags that set the version if the sources do not have it. Charts ask Kubernetes for it. */
function flagsOf({ versionPackage }: Module, version: string): string {
  if (versionPackage === undefined) return '';
  const [major, minor] = version.replace(/^v/, '').split('.');
  const variables = { gitVersion: version, gitMajor: major, gitMinor: minor, gitTreeState: 'clean' };
  return Object.entries(variables)
    .map(([name, value]) => ` -X ${versionPackage}.${name}=${value}`)
    .join('');
}

/** Digest of a module's inputs, for this processor. */
export async function digestOf(folder: string, flags = ''): Promise<string> {
  const digest = createHash('sha256').update(process.arch).update(flags);
  const sources = (await readdir(folder)).filter((file) => file.endsWith('.go')).sort();
  for (const file of ['go.mod', 'go.sum', ...sources]) digest.update(await readFile(join(folder, file)));
  return digest.digest('hex').slice(0, 16);
}

/** Makes compilers collect garbage less often, which saves 15 per cent of their time, within limits. */
export const goEnvironment = () => ({
  GOGC: '400',
  GOMEMLIMIT: '1500MiB',
  ...process.env,
  GOFLAGS: '-mod=readonly -buildvcs=false',
  GOWORK: 'off',
});

async function fetchSources({ folder, binaries }: Module): Promise<void> {
  const options = { cwd: join(TOOLS, folder), env: goEnvironment() };
  await must(['go', 'list', '-deps', ...Object.values(binaries)], 'lab_install', options);
}

async function build(module: Module, version: string, work: string): Promise<void> {
  const cwd = join(TOOLS, module.folder);
  const env = goEnvironment();
  const [only, ...more] = Object.keys(module.binaries);
  // `go build` names several binaries after their packages. Without DWARF, which only debuggers need, the compiler has less to do.
  const output = more.length === 0 ? join(work, only!) : `${work}/`;
  const flags = ['-trimpath', `-ldflags=-s -w${flagsOf(module, version)}`, '-gcflags=all=-dwarf=false'];
  await must(['go', 'build', ...flags, '-o', output, ...Object.values(module.binaries)], 'lab_install', { cwd, env });
  if (!module.extras) return;
  const source = await must(['go', 'list', '-m', '-f', '{{.Dir}}', module.main], 'lab_install', { cwd, env });
  await module.extras(source.trim(), work);
}

/** Version of the main module, as pinned in its go.mod. */
export async function versionOf({ folder, main }: Module): Promise<string> {
  const mod = await readFile(join(TOOLS, folder, 'go.mod'), 'utf8');
  const line = mod
    .split('\n')
    .map((one) => one.trim().replace(/^require /, ''))
    .find((one) => one.startsWith(`${main} v`));
  return line?.split(' ')[1] ?? 'unknown';
}
