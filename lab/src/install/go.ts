/**
 * Kubernetes, etcd and Istio, built from source as ordinary Go modules (`lab/tools/*`): the Go checksum database vouches
 * for every byte, and no container image is needed. Each module is built once and kept under the digest of its go.mod and go.sum.
 */
import { createHash } from 'node:crypto';
import { copyFile, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseAllDocuments } from 'yaml';
import { must } from '../run.ts';
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

interface Module {
  readonly folder: string;
  /** Begins the name of its folder in the cache. Default: `folder`. */
  readonly home?: string;
  /** Module whose version names the whole. */
  readonly main: string;
  /** Output file -> package. */
  readonly binaries: Readonly<Record<string, string>>;
  readonly minutes: string;
  readonly extras?: (source: string, out: string) => Promise<void>;
}

const TOOLS = fileURLToPath(new URL('../../tools/', import.meta.url));

const MODULES: readonly Module[] = [
  {
    folder: 'etcd',
    main: 'go.etcd.io/etcd/server/v3',
    binaries: { etcd: 'go.etcd.io/etcd/server/v3' },
    minutes: 'about a minute',
  },
  {
    folder: 'kubernetes',
    main: 'k8s.io/kubernetes',
    binaries: {
      'kube-apiserver': 'k8s.io/kubernetes/cmd/kube-apiserver',
      'kube-controller-manager': 'k8s.io/kubernetes/cmd/kube-controller-manager',
    },
    minutes: 'about 4 minutes on two cores',
  },
  {
    folder: 'istio',
    main: 'istio.io/istio',
    binaries: {
      'pilot-discovery': 'istio.io/istio/pilot/cmd/pilot-discovery',
      'pilot-agent': 'istio.io/istio/pilot/cmd/pilot-agent',
    },
    minutes: 'about 4 minutes on two cores',
    extras: copyIstioFiles,
  },
];

/** Benchmarks compare with it; nothing else waits for its build. */
const ISTIOCTL: Module = {
  folder: 'istio',
  home: 'istioctl',
  main: 'istio.io/istio',
  binaries: { istioctl: 'istio.io/istio/istioctl/cmd/istioctl' },
  minutes: 'about a minute',
};

/** Renders and installs the chart. */
const HELM: Module = {
  folder: 'helm',
  main: 'helm.sh/helm/v4',
  binaries: { helm: 'helm.sh/helm/v4/cmd/helm' },
  minutes: 'about 2 minutes',
};

/**
 * etcd first: it is the smallest, and compiles the standard library for all. The sources of the others are fetched meanwhile;
 * then they are built side by side, because a linker uses one core.
 * @throws LabError `lab_install` with the compiler's last lines
 */
export async function buildGoTools(cache: string, progress: (line: string) => void): Promise<GoTools> {
  const home: Record<string, string> = {};
  const versions: Record<string, string> = {};
  const ensure = async (module: Module, after?: Promise<unknown>) => {
    const version = await versionOf(module);
    versions[module.folder] = version;
    home[module.folder] = await buildOnce(module, cache, version, progress, after);
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

/** @returns path of `istioctl`. @throws LabError `lab_install` with the compiler's last lines */
export async function buildIstioctl(cache: string, progress: (line: string) => void): Promise<string> {
  return join(await buildOnce(ISTIOCTL, cache, await versionOf(ISTIOCTL), progress), 'istioctl');
}

/** @returns path of `helm`. @throws LabError `lab_install` with the compiler's last lines */
export async function buildHelm(cache: string, progress: (line: string) => void): Promise<string> {
  return join(await buildOnce(HELM, cache, await versionOf(HELM), progress), 'helm');
}

async function buildOnce(
  module: Module,
  cache: string,
  version: string,
  progress: (line: string) => void,
  after?: Promise<unknown>,
): Promise<string> {
  const folder = join(TOOLS, module.folder);
  const digest = createHash('sha256').update(process.arch);
  for (const file of ['go.mod', 'go.sum']) digest.update(await readFile(join(folder, file)));
  const name = module.home ?? module.folder;
  const home = join(cache, `${name}-${digest.digest('hex').slice(0, 16)}`);
  const fill = async (work: string): Promise<string> => {
    await fetchSources(module);
    await after;
    progress(`building ${name} ${version} (once, ${module.minutes})`);
    await build(module, work);
    progress(`built ${name}`);
    return work;
  };
  await fillOnce(home, fill, progress);
  return home;
}

/** Compilers that collect garbage less often are done sooner (15 per cent), within limits. */
const goEnvironment = () => ({
  ...{ GOGC: '400', GOMEMLIMIT: '1500MiB', ...process.env },
  ...{ GOFLAGS: '-mod=readonly -buildvcs=false', GOWORK: 'off' },
});

async function fetchSources({ folder, binaries }: Module): Promise<void> {
  const options = { cwd: join(TOOLS, folder), env: goEnvironment() };
  await must(['go', 'list', '-deps', ...Object.values(binaries)], 'lab_install', options);
}

async function build(module: Module, work: string): Promise<void> {
  const cwd = join(TOOLS, module.folder);
  const env = goEnvironment();
  const [only, ...more] = Object.keys(module.binaries);
  // Several are named by their packages. Nobody debugs them: without DWARF the compiler has less to do.
  const output = more.length === 0 ? join(work, only!) : `${work}/`;
  const flags = ['-trimpath', '-ldflags=-s -w', '-gcflags=all=-dwarf=false'];
  await must(['go', 'build', ...flags, '-o', output, ...Object.values(module.binaries)], 'lab_install', { cwd, env });
  if (!module.extras) return;
  const source = await must(['go', 'list', '-m', '-f', '{{.Dir}}', module.main], 'lab_install', { cwd, env });
  await module.extras(source.trim(), work);
}

async function copyIstioFiles(source: string, out: string): Promise<void> {
  await copyFile(join(source, 'tools/packaging/common/envoy_bootstrap.json'), join(out, 'envoy_bootstrap.json'));
  const yaml = await readFile(join(source, 'manifests/charts/base/files/crd-all.gen.yaml'), 'utf8');
  // As JSON, because parsing a megabyte of YAML at each start would take a second.
  const crds = parseAllDocuments(yaml)
    .map((document) => document.toJSON())
    .filter(Boolean);
  await writeFile(join(out, 'crds.json'), JSON.stringify(crds));
}

/** Of the module that names the whole, as its go.mod pins it. */
async function versionOf({ folder, main }: Module): Promise<string> {
  const mod = await readFile(join(TOOLS, folder, 'go.mod'), 'utf8');
  const line = mod
    .split('\n')
    .map((one) => one.trim().replace(/^require /, ''))
    .find((one) => one.startsWith(`${main} v`));
  return line?.split(' ')[1] ?? 'unknown';
}
