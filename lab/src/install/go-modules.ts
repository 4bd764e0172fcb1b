/** The Go modules that the lab builds, as data. */
import { copyFile, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';

export interface Module {
  /** Folder of `lab/tools` with its go.mod. */
  readonly folder: string;
  /** Begins the name of its folder in the cache, and is its key among the versions. */
  readonly home: string;
  /** Module whose version names the whole. */
  readonly main: string;
  /** Output file -> package. */
  readonly binaries: Readonly<Record<string, string>>;
  readonly minutes: string;
  /** Package whose variables contain the version, which a build of a module does not know. */
  readonly versionPackage?: string;
  readonly extras?: (source: string, out: string) => Promise<void>;
}

/**
 * Another release than the default one: `MESHPASS_LAB_ISTIO=1.30`, `MESHPASS_LAB_KUBERNETES=1.33`. Each is a pinned set of modules of
 * its own. docs/testing/releases.md has what passes with which.
 */
const ISTIO_FOLDER = ofRelease('istio', process.env.MESHPASS_LAB_ISTIO);
const KUBERNETES_FOLDER = ofRelease('kubernetes', process.env.MESHPASS_LAB_KUBERNETES);
const NODE_FOLDER = ofRelease('node', process.env.MESHPASS_LAB_KUBERNETES);

function ofRelease(folder: string, release: string | undefined): string {
  return release ? `${folder}-${release}` : folder;
}

const KUBERNETES_VERSION = 'k8s.io/component-base/version';

export const ISTIO: Module = {
  folder: ISTIO_FOLDER,
  home: 'istio',
  main: 'istio.io/istio',
  binaries: {
    'pilot-discovery': 'istio.io/istio/pilot/cmd/pilot-discovery',
    'pilot-agent': 'istio.io/istio/pilot/cmd/pilot-agent',
  },
  minutes: 'about 4 minutes on two cores',
  extras: copyIstioFiles,
};

export const MODULES: readonly Module[] = [
  {
    folder: 'etcd',
    home: 'etcd',
    main: 'go.etcd.io/etcd/server/v3',
    binaries: { etcd: 'go.etcd.io/etcd/server/v3' },
    minutes: 'about a minute',
  },
  {
    folder: KUBERNETES_FOLDER,
    home: 'kubernetes',
    main: 'k8s.io/kubernetes',
    binaries: {
      'kube-apiserver': 'k8s.io/kubernetes/cmd/kube-apiserver',
      'kube-controller-manager': 'k8s.io/kubernetes/cmd/kube-controller-manager',
    },
    minutes: 'about 4 minutes on two cores',
    versionPackage: KUBERNETES_VERSION,
  },
  ISTIO,
];

/** Renders and installs the chart. */
export const HELM: Module = {
  folder: 'helm',
  home: 'helm',
  main: 'helm.sh/helm/v4',
  binaries: { helm: 'helm.sh/helm/v4/cmd/helm' },
  minutes: 'about 2 minutes',
};

/** The engine of Argo CD, with its program that synchronizes a cluster from a folder of a Git repository. */
const GITOPS_ENGINE: Module = {
  folder: 'gitops-engine',
  home: 'gitops-engine',
  main: 'github.com/argoproj/gitops-engine',
  binaries: { 'gitops-agent': 'github.com/argoproj/gitops-engine/agent' },
  minutes: 'about a minute',
};

/** Modules of a cluster besides the lab's tools. */
export const CLUSTER_MODULES: readonly Module[] = [
  {
    folder: NODE_FOLDER,
    home: 'node',
    main: 'k8s.io/kubernetes',
    binaries: {
      kubelet: 'k8s.io/kubernetes/cmd/kubelet',
      'kube-scheduler': 'k8s.io/kubernetes/cmd/kube-scheduler',
      'kube-proxy': 'k8s.io/kubernetes/cmd/kube-proxy',
      kubectl: 'k8s.io/kubernetes/cmd/kubectl',
    },
    minutes: 'about 3 minutes on two cores',
    versionPackage: KUBERNETES_VERSION,
  },
  HELM,
  GITOPS_ENGINE,
  {
    folder: 'coredns',
    home: 'coredns',
    main: 'github.com/coredns/coredns',
    binaries: { coredns: 'github.com/coredns/coredns' },
    minutes: 'about 2 minutes',
  },
  {
    folder: 'kube-router',
    home: 'kube-router',
    main: 'github.com/cloudnativelabs/kube-router/v2',
    binaries: { 'kube-router': 'github.com/cloudnativelabs/kube-router/v2/cmd/kube-router' },
    minutes: 'about 2 minutes',
  },
];

/** Module for comparisons in benchmarks, whose build no other code waits for. */
export const ISTIOCTL: Module = {
  folder: ISTIO_FOLDER,
  home: 'istioctl',
  main: 'istio.io/istio',
  binaries: { istioctl: 'istio.io/istio/istioctl/cmd/istioctl' },
  minutes: 'about a minute',
};

/** Programs for people in workspaces; the node's module has their dependencies. */
export const KUBECTL: Module = {
  folder: NODE_FOLDER,
  home: 'kubectl',
  main: 'k8s.io/kubernetes',
  binaries: { kubectl: 'k8s.io/kubernetes/cmd/kubectl' },
  minutes: 'about a minute',
  versionPackage: KUBERNETES_VERSION,
};

/** An identity provider for tests of sign-ins: the library, and a program of the lab's own around it. */
export const ZITADEL_OIDC: Module = {
  folder: 'zitadel-oidc',
  home: 'zitadel-oidc',
  main: 'github.com/zitadel/oidc/v3',
  binaries: { 'zitadel-oidc': '.' },
  minutes: 'less than a minute',
};

async function copyIstioFiles(source: string, out: string): Promise<void> {
  await copyFile(join(source, 'tools/packaging/common/envoy_bootstrap.json'), join(out, 'envoy_bootstrap.json'));
  await copyCrds(join(source, 'manifests/charts/base/files/crd-all.gen.yaml'), join(out, 'crds.json'));
}

export const GATEWAY_API_CRDS = 'gateway-api.json';

/** Copies the CustomResourceDefinitions of the release of Gateway API that Istio is tested with. */
export async function copyGatewayApiCrds(source: string, out: string): Promise<void> {
  await copyCrds(join(source, 'tests/integration/pilot/testdata/gateway-api-crd.yaml'), join(out, GATEWAY_API_CRDS));
}

/** Copies the CRDs as JSON, because parsing a megabyte of YAML at each start would take a second. */
async function copyCrds(from: string, to: string): Promise<void> {
  const crds = parseAllDocuments(await readFile(from, 'utf8'))
    .map((document) => document.toJSON())
    .filter((object) => object?.kind === 'CustomResourceDefinition');
  await writeFile(to, JSON.stringify(crds));
}
