/** Software that is installed in a cluster as its users install it: by kubectl and helm. */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ClusterTools } from '../install/tools.ts';
import { must, type RunOptions } from '../run.ts';
import { kubeconfigOf } from './node/control-plane.ts';

const MANIFESTS = fileURLToPath(new URL('manifests/', import.meta.url));
const WAIT = '--timeout=180s';

/** Environment of kubectl and helm for a cluster. */
export function kubeEnvironment(dir: string): Record<string, string | undefined> {
  return { ...process.env, KUBECONFIG: kubeconfigOf(dir, 'admin'), HELM_DRIVER: 'secret', HOME: join(dir, 'hosts') };
}

/** Basic software of a cluster: its name server, and a class of disks. */
export async function installBasics(dir: string, tools: ClusterTools): Promise<void> {
  for (const file of ['coredns.yaml', 'storage.yaml'])
    await kubectl(dir, tools, ['apply', '-f', join(MANIFESTS, file)]);
}

/** Istio from its own charts, with injection. */
export async function installMesh(dir: string, tools: ClusterTools): Promise<void> {
  const charts = tools.cluster.istioCharts;
  const into = ['--namespace', 'istio-system'];
  await helm(dir, tools, ['install', 'istio-base', join(charts, 'base'), ...into, '--create-namespace']);
  const values = ['--values', join(MANIFESTS, 'istiod-values.yaml')];
  await helm(dir, tools, ['install', 'istiod', join(charts, 'istio-discovery'), ...into, ...values]);
  // A pod that is made before istiod is ready is refused by its webhook.
  await kubectl(dir, tools, ['rollout', 'status', 'deployment/istiod', '-n', 'istio-system', WAIT]);
}

export async function installShop(dir: string, tools: ClusterTools): Promise<void> {
  await kubectl(dir, tools, ['apply', '-f', join(MANIFESTS, 'shop.yaml')]);
}

/** Waits until every Deployment of a fresh cluster is available. */
export async function waitForShop(dir: string, tools: ClusterTools): Promise<void> {
  for (const namespace of ['kube-system', 'shop', 'dev'])
    await kubectl(dir, tools, ['wait', '--for=condition=Available', 'deployment', '--all', '-n', namespace, WAIT]);
}

function kubectl(dir: string, tools: ClusterTools, args: readonly string[], options: RunOptions = {}): Promise<string> {
  return must([tools.cluster.kubectl, ...args], 'lab_start', { ...options, env: kubeEnvironment(dir) });
}

function helm(dir: string, tools: ClusterTools, args: readonly string[]): Promise<string> {
  return must([tools.cluster.helm, ...args], 'lab_start', { env: kubeEnvironment(dir) });
}
